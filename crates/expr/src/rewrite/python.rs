//! What the interpreter lacks of Python, made of what it has (CO-221).

use ruff_python_ast::{Alias, CmpOp, Expr, ExprAttribute, ExprCall, ExprCompare, Stmt, token::TokenKind};
use ruff_text_size::Ranged;

use super::Rewrite;
use crate::{members::supplied, prelude::Part};

impl Rewrite<'_> {
    /// `key=ranks.get` becomes a function that calls the method, and so does the first argument of `map` and `filter`.
    pub(super) fn kept_methods(&mut self, call: &ExprCall) {
        let keys = call
            .arguments
            .keywords
            .iter()
            .filter(|keyword| keyword.arg.as_ref().is_some_and(|name| name.as_str() == "key"));
        let mapped = matches!(&*call.func, Expr::Name(name) if matches!(name.id.as_str(), "map" | "filter"));
        let given = call.arguments.args.first().filter(|_| mapped);
        for value in keys.map(|keyword| &keyword.value).chain(given) {
            if let Expr::Attribute(method) = value
                && let Expr::Name(of) = &*method.value
                && of.id.as_str() != "str"
                && self.module(&of.id).is_none()
            {
                self.parts.insert(Part::Tick);
                self.edits.wrap(value.range(), "(lambda __pc_x,*__pc_a:__pc_t()and ", "(__pc_x,*__pc_a))");
            }
        }
    }

    /// `re.sub(…)` and `pattern.sub(…)` with something other than text to put in.
    pub(super) fn replacement(&mut self, call: &ExprCall, function: &ExprAttribute) {
        let of_module = matches!(&*function.value, Expr::Name(name) if self.module(&name.id) == Some("re"));
        let repl = call.arguments.find_argument_value("repl", usize::from(of_module));
        if !matches!(repl, Some(Expr::Lambda(_) | Expr::Name(_) | Expr::Attribute(_))) {
            return;
        }
        if of_module {
            self.parts.insert(Part::Replace);
            self.edits.replace(function.range(), "__pc_re_sub");
        } else {
            self.method(call, function, "pattern_sub", Part::Replace);
        }
    }

    /// `str.lower` becomes a function that calls the method.
    pub(super) fn method_of_text(&mut self, attribute: &ExprAttribute) -> bool {
        if !matches!(&*attribute.value, Expr::Name(name) if name.id.as_str() == "str") {
            return false;
        }
        if attribute.attr.as_str() == "maketrans" {
            self.parts.insert(Part::Translate);
            self.edits.replace(attribute.range(), "__pc_maketrans");
        } else {
            self.parts.insert(Part::Tick);
            let function = format!("(lambda __pc_x,*__pc_a:__pc_t()and __pc_x.{}(*__pc_a))", attribute.attr);
            self.edits.replace(attribute.range(), function);
        }
        true
    }

    /// The module that goes by a name.
    pub(super) fn module(&self, name: &str) -> Option<&'static str> {
        self.modules.iter().find(|(known, _)| known == name).map(|(_, module)| *module)
    }

    /// Puts what the prelude defines in.
    pub(super) fn supply(&mut self, stands: &'static str, part: Option<Part>) -> &'static str {
        if let Some(part) = part {
            self.parts.insert(part);
            self.parts.insert(Part::Tick);
        }
        stands
    }

    /// `a <= b` becomes a call, where `a` and `b` may be sets.
    pub(super) fn order_of_sets(&mut self, expr: &Expr, compare: &ExprCompare) {
        let (kind, name) = match &*compare.ops {
            [CmpOp::LtE] => (TokenKind::LessEqual, "__pc_le("),
            [CmpOp::GtE] => (TokenKind::GreaterEqual, "__pc_ge("),
            [CmpOp::Lt] => (TokenKind::Less, "__pc_lt("),
            [CmpOp::Gt] => (TokenKind::Greater, "__pc_gt("),
            _ => return,
        };
        if compare.left.is_number_literal_expr() || compare.comparators.iter().any(Expr::is_number_literal_expr) {
            return;
        }
        if let Some(operator) = self.token(kind, compare.left.end()) {
            self.wrap(expr.range(), name, Part::Sets);
            self.edits.replace(operator, ",");
        }
    }

    /// `from itertools import chain, product` keeps what is there, and names what the prelude adds.
    pub(super) fn import_of_ours(&mut self, stmt: &Stmt, module: &str, names: &[Alias]) {
        if names.iter().all(|alias| supplied(module, &alias.name).is_none()) {
            return;
        }
        let (mut kept, mut added) = (Vec::new(), Vec::new());
        for alias in names {
            match supplied(module, &alias.name) {
                Some((stands, part)) => {
                    let stands = self.supply(stands, part);
                    added.push(format!("{}={stands}", alias.asname.as_ref().unwrap_or(&alias.name)));
                }
                None => kept.push(self.text.get(alias.range().to_std_range()).unwrap_or_default().to_owned()),
            }
        }
        if !kept.is_empty() {
            added.insert(0, format!("from {module} import {}", kept.join(",")));
        }
        let breaks = self.text.get(stmt.range().to_std_range()).unwrap_or_default().matches('\n').count();
        self.edits.replace(stmt.range(), format!("{}{}", added.join(";"), "\n".repeat(breaks)));
    }
}
