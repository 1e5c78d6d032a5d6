//! What the interpreter lacks of Python, made of what it has (CO-221).

use ruff_python_ast::{Alias, CmpOp, Expr, ExprAttribute, ExprCall, ExprCompare, Stmt, UnaryOp, token::TokenKind};
use ruff_text_size::Ranged;

use super::{Rewrite, statements::KEPT};
use crate::{members::supplied, prelude::Part};

/// Methods of sets that take any number of arguments.
const GATHERED: [&str; 4] = ["union", "intersection", "difference", "update"];

impl Rewrite<'_> {
    /// `sorted(ranks, key=ranks.get)` gets a function that calls the method instead, and so does whatever else takes a
    /// function there. Anybody else's `key` is a value, and a function in its place would be a truth that it is not.
    pub(super) fn kept_methods(&mut self, call: &ExprCall) {
        let arguments = &call.arguments;
        let value = if self.is_builtin(&call.func, &["map", "filter"]) {
            arguments.args.first()
        } else if self.is_builtin(&call.func, &["sorted", "min", "max"]) || self.sorts(&call.func) {
            arguments.find_keyword("key").map(|keyword| &keyword.value)
        } else if self.is_of_module(&call.func, "itertools", "groupby") {
            arguments.find_argument_value("key", 1)
        } else {
            None
        };
        if let Some(value) = value
            && let Expr::Attribute(method) = value
            && let Expr::Name(of) = &*method.value
            && (of.id.as_str() != "str" || self.mentions.bound.contains("str"))
            && self.module(&of.id).is_none()
            && self.kept(method).is_none()
        {
            self.parts.insert(Part::Tick);
            self.edits.wrap(value.range(), "(lambda __pc_x,*__pc_a:__pc_t()and ", "(__pc_x,*__pc_a))");
        }
        if let Some(value) = value
            && self.is_builtin(value, &["str"])
        {
            self.text_of(value);
        }
    }

    /// `str` as a function that is called by others.
    pub(super) fn text_of(&mut self, value: &Expr) {
        self.parts.extend([Part::Text, Part::Tick]);
        self.edits.replace(value.range(), "(lambda __pc_x:__pc_t()and str(__pc_s(__pc_x)))");
    }

    /// Whether an expression is one of these built-in functions, which the expression has not made its own.
    pub(super) fn is_builtin(&self, function: &Expr, names: &[&str]) -> bool {
        matches!(function, Expr::Name(name)
            if names.contains(&name.id.as_str()) && !self.mentions.bound.contains(name.id.as_str()))
    }

    /// Whether an expression is a member of a module, by the module's name or by its own after an import.
    pub(super) fn is_of_module(&self, function: &Expr, module: &str, member: &str) -> bool {
        match function {
            Expr::Attribute(of) => {
                of.attr.as_str() == member
                    && matches!(&*of.value, Expr::Name(name) if self.module(&name.id) == Some(module))
            }
            Expr::Name(name) => self.mentions.is_imported(&name.id, module, member),
            _ => false,
        }
    }

    /// The name of a method that may be one of a regular expression which makes a list. Methods of modules are supplied.
    pub(super) fn finds(&self, attribute: &ExprAttribute) -> Option<&'static str> {
        let name = ["findall", "finditer", "split"].into_iter().find(|name| *name == attribute.attr.as_str())?;
        let of_module = matches!(&*attribute.value, Expr::Name(of) if self.module(&of.id).is_some());
        let of_text = attribute.value.is_string_literal_expr() || self.is_builtin(&attribute.value, &["str"]);
        (self.mentions.patterns && !of_module && !of_text).then_some(name)
    }

    /// `set.union` becomes the function that stands for it, also where it is not called: `reduce(set.union, sets)`.
    pub(super) fn method_of_sets(&mut self, attribute: &ExprAttribute) -> bool {
        let kept =
            GATHERED.contains(&attribute.attr.as_str()) && self.is_builtin(&attribute.value, &["set", "frozenset"]);
        if kept {
            self.parts.insert(Part::Gathered);
            self.edits.replace(attribute.range(), format!("__pc_{}", attribute.attr));
        }
        kept
    }

    /// `sets.union(a, b)`, `set().union(*all)` and `set.union(*all)`: the interpreter's methods take one argument each.
    pub(super) fn gathers(&mut self, call: &ExprCall, function: &ExprAttribute) -> bool {
        let Some(name) = GATHERED.into_iter().find(|name| *name == function.attr.as_str()) else { return false };
        let unbound = self.method_of_sets(function);
        let one = matches!(&*call.arguments.args, [only] if !only.is_starred_expr());
        if !unbound && !one && (call.arguments.keywords.is_empty() || !call.arguments.args.is_empty()) {
            self.method(call, function, name, Part::Gathered);
        }
        unbound || !one
    }

    /// Truth values that are seen to be some and are reckoned with count as numbers: `years - (today < birthday)`.
    pub(super) fn truths(&mut self, operands: &[&Expr]) {
        for operand in operands {
            if is_truth(operand) {
                self.edits.wrap(operand.range(), "(1 if ", " else 0)");
            }
        }
    }

    /// Whether an expression is the method `sort` of a list: of what else it may be, the expression is the author.
    fn sorts(&self, function: &Expr) -> bool {
        matches!(function, Expr::Attribute(of) if of.attr.as_str() == "sort") && !self.mentions.made.contains("sort")
    }

    /// `re.sub(…)` and `pattern.sub(…)` with something other than text to put in.
    pub(super) fn replacement(&mut self, call: &ExprCall, method: Option<&ExprAttribute>) {
        let of_module = self.is_of_module(&call.func, "re", "sub");
        let repl = call.arguments.find_argument_value("repl", usize::from(of_module));
        if !matches!(repl, Some(Expr::Lambda(_) | Expr::Name(_) | Expr::Attribute(_))) {
            return;
        }
        if of_module {
            self.parts.extend([Part::Found, Part::Replace]);
            self.edits.replace(call.func.range(), "__pc_re_sub");
        } else if let Some(method) = method {
            self.parts.insert(Part::Found);
            self.method(call, method, "pattern_sub", Part::Replace);
        }
    }

    /// `str.lower` becomes a function that calls the method.
    pub(super) fn method_of_text(&mut self, attribute: &ExprAttribute) -> bool {
        if !self.is_builtin(&attribute.value, &["str"]) {
            return false;
        }
        if attribute.attr.as_str() == "maketrans" {
            self.parts.insert(Part::Translate);
            self.edits.replace(attribute.range(), "__pc_maketrans");
        } else {
            self.parts.insert(Part::Tick);
            let function =
                format!("(lambda __pc_x,*__pc_a,**__pc_k:__pc_t()and __pc_x.{}(*__pc_a,**__pc_k))", attribute.attr);
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

    /// Puts what the prelude has of a module of its own in.
    pub(super) fn supply_own(&mut self, stands: &'static str, part: Part) -> &'static str {
        self.parts.extend([part, Part::Text, Part::Tick]);
        if part == Part::Small {
            self.parts.extend(KEPT);
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
            [_, _, ..] => return self.chain_of_sets(expr, compare),
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

    /// `a <= b <= c` becomes a call too, where nothing is lost if `c` is looked at before it is needed.
    fn chain_of_sets(&mut self, expr: &Expr, compare: &ExprCompare) {
        let known = |expr: &Expr| {
            matches!(expr, Expr::Name(_))
                || matches!(expr, Expr::Set(set) if set.elts.iter().all(Expr::is_literal_expr))
        };
        if !compare.comparators.iter().skip(1).all(known) {
            return;
        }
        let operands = std::iter::once(&*compare.left).chain(&*compare.comparators);
        let operators: Option<Vec<_>> = compare
            .ops
            .iter()
            .zip(operands)
            .map(|(op, left)| {
                let (kind, text) = match op {
                    CmpOp::LtE => (TokenKind::LessEqual, ",'<=',"),
                    CmpOp::GtE => (TokenKind::GreaterEqual, ",'>=',"),
                    CmpOp::Lt => (TokenKind::Less, ",'<',"),
                    CmpOp::Gt => (TokenKind::Greater, ",'>',"),
                    _ => return None,
                };
                Some((self.token(kind, left.end())?, text))
            })
            .collect();
        let Some(operators) = operators else { return };
        self.wrap(expr.range(), "__pc_chain(", Part::Sets);
        for (at, text) in operators {
            self.edits.replace(at, text);
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

/// Whether an expression comes to a truth value, whatever it is made of.
fn is_truth(expr: &Expr) -> bool {
    match expr {
        Expr::Compare(_) | Expr::BooleanLiteral(_) => true,
        Expr::UnaryOp(unary) => unary.op == UnaryOp::Not,
        Expr::BoolOp(joined) => joined.values.iter().all(is_truth),
        _ => false,
    }
}
