//! Statements and operators that the prelude stands for: `del`, parts of lists, `%`, annotations.

use ruff_python_ast::{
    Alias, ConversionFlag, Expr, ExprAttribute, ExprBinOp, ExprCall, ExprSlice, ExprSubscript, InterpolatedElement,
    InterpolatedStringElement, Operator, StmtAssign, StmtAugAssign, StmtClassDef, StmtDelete,
    str_prefix::StringLiteralPrefix, token::TokenKind,
};
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::Rewrite;
use crate::{
    check::{PATTERN_FUNCTIONS, is_object, is_part, replaces_part},
    prelude::Part,
};

/// Methods whose calls the prelude takes.
const TEXT_METHODS: [&str; 2] = ["format", "format_map"];

/// Functions of the language that the prelude has in their place.
const FUNCTIONS: [(&str, &str, Part); 3] =
    [("round", "__pc_round", Part::Round), ("next", "__pc_next", Part::Next), ("format", "__pc_spec", Part::Format)];

/// What functions that are taken out of where they are need.
pub(super) const KEPT: [Part; 4] = [Part::Kept, Part::Found, Part::Loads, Part::Tick];

/// What text that is formatted needs.
const FORMAT: [Part; 4] = [Part::Format, Part::Instants, Part::Text, Part::Tick];

/// Attributes that the prelude reads.
const REWRITTEN: [&str; 5] = ["headers", "GET", "days", "seconds", "microseconds"];

/// Exceptions that an expression may make.
const EXCEPTIONS: [&str; 14] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "Exception",
    "IndexError",
    "KeyError",
    "LookupError",
    "NotImplementedError",
    "OverflowError",
    "RuntimeError",
    "StopIteration",
    "TypeError",
    "ValueError",
    "ZeroDivisionError",
];

impl Rewrite<'_> {
    /// `del d["a"], xs[1:]` becomes calls; names stay behind.
    pub(super) fn delete(&mut self, delete: &StmtDelete) {
        // What remains is a tuple, whatever stands around its items.
        self.edits.replace(TextRange::at(delete.start(), TextSize::of("del")), "None,");
        delete.targets.iter().for_each(|target| self.delete_target(target));
    }

    fn delete_target(&mut self, target: &Expr) {
        match target {
            Expr::Tuple(targets) => targets.elts.iter().for_each(|target| self.delete_target(target)),
            Expr::List(targets) => targets.elts.iter().for_each(|target| self.delete_target(target)),
            Expr::Subscript(item) => match &*item.slice {
                Expr::Slice(slice) if is_part(&item.slice) => self.part(item, slice, "__pc_put(", ",[])"),
                // Parentheses of the key are no part of it: it gets others.
                Expr::Tuple(_) => self.item(item, "__pc_del(", "))"),
                _ => self.item(item, "__pc_del(", ")"),
            },
            _ => {}
        }
    }

    /// `xs[1:3] = new` becomes a call.
    pub(super) fn put(&mut self, assign: &StmtAssign) {
        let Some(target) = replaces_part(assign) else { return };
        let Expr::Slice(slice) = &*target.slice else { return };
        let Some(equal) = self.token(TokenKind::Equal, target.end()) else { return };
        self.part(target, slice, "__pc_put(", ",(");
        self.edits.replace(equal, "");
        self.edits.append(assign.end(), "))");
    }

    fn part(&mut self, item: &ExprSubscript, slice: &ExprSlice, open: &'static str, close: &'static str) {
        let from = slice.lower.as_ref().map_or(slice.start(), |lower| lower.end());
        let Some(colon) = self.token(TokenKind::Colon, from) else { return };
        if slice.lower.is_none() {
            self.edits.insert(slice.start(), "None");
        }
        self.edits.replace(colon, if slice.upper.is_none() { ",None" } else { "," });
        self.item(item, open, close);
    }

    /// `c[k]` becomes what stands before, `c,k` and what stands behind.
    fn item(&mut self, item: &ExprSubscript, open: &'static str, close: &'static str) {
        let Some(bracket) = self.token(TokenKind::Lsqb, item.value.end()) else { return };
        self.parts.insert(Part::Parts);
        let last = item.end() - TextSize::new(1);
        self.edits.wrap(TextRange::new(item.start(), last), open, "");
        self.edits.replace(bracket, if item.slice.is_tuple_expr() { ",(" } else { "," });
        self.edits.replace(TextRange::new(last, item.end()), close);
    }

    /// Operators that mean more than the interpreter's: `%` formats, and spans of time are reckoned with.
    pub(super) fn binary(&mut self, expr: &Expr, binary: &ExprBinOp) {
        let (left, right) = (&*binary.left, &*binary.right);
        self.operator(expr, binary);
        // Behind the operator's, as what they are put around lies within.
        match binary.op {
            Operator::BitOr | Operator::BitAnd | Operator::BitXor => {}
            // What is put into a text stays a truth; the prelude makes numbers of those that are reckoned with.
            Operator::Mod if !left.is_number_literal_expr() => self.truths(&[left]),
            _ => self.truths(&[left, right]),
        }
    }

    fn operator(&mut self, expr: &Expr, binary: &ExprBinOp) {
        let (left, right) = (&*binary.left, &*binary.right);
        let text = is_text(left) || is_text(right);
        let (kind, open, part) = match binary.op {
            Operator::BitOr => (TokenKind::Vbar, "__pc_or(", Part::Union),
            Operator::Sub if self.ordered => (TokenKind::Minus, "__pc_sub(", Part::Order),
            Operator::Add if self.instants && !text && !left.is_literal_expr() && !right.is_literal_expr() => {
                (TokenKind::Plus, "__pc_add(", Part::Order)
            }
            Operator::Div if self.instants && !right.is_literal_expr() => (TokenKind::Slash, "__pc_div(", Part::Order),
            Operator::FloorDiv if self.instants => (TokenKind::DoubleSlash, "__pc_floordiv(", Part::Order),
            Operator::Mod if left.is_number_literal_expr() => return,
            Operator::Mod if self.instants => (TokenKind::Percent, "__pc_rem(", Part::Order),
            Operator::Mod => (TokenKind::Percent, "__pc_mod(", Part::Modulo),
            _ => return,
        };
        if let Some(operator) = self.token(kind, left.end()) {
            if binary.op == Operator::Mod {
                self.parts.extend([Part::Modulo, Part::Text, Part::Tick]);
            }
            self.wrap(expr.range(), open, part);
            self.edits.replace(operator, ",");
        }
    }

    /// `total += end - start` becomes an assignment, where the operator is one that the prelude stands for.
    pub(super) fn in_place(&mut self, assign: &StmtAugAssign) {
        let value = &*assign.value;
        let (kind, name, part) = match assign.op {
            Operator::BitOr => (TokenKind::VbarEqual, "ior", Part::Union),
            Operator::Add if self.instants && !value.is_literal_expr() => (TokenKind::PlusEqual, "iadd", Part::Order),
            Operator::Sub if self.ordered && !value.is_literal_expr() => (TokenKind::MinusEqual, "isub", Part::Order),
            Operator::Sub if self.sets && !value.is_literal_expr() => (TokenKind::MinusEqual, "iminus", Part::Union),
            Operator::BitAnd if self.sets => (TokenKind::AmperEqual, "iand", Part::Union),
            Operator::BitXor if self.sets => (TokenKind::CircumflexEqual, "ixor", Part::Union),
            Operator::Div if self.instants => (TokenKind::SlashEqual, "div", Part::Order),
            Operator::FloorDiv if self.instants => (TokenKind::DoubleSlashEqual, "floordiv", Part::Order),
            Operator::Mod if self.instants => (TokenKind::PercentEqual, "rem", Part::Order),
            Operator::Mod => (TokenKind::PercentEqual, "mod", Part::Modulo),
            _ => return,
        };
        let target = self.text.get(assign.target.range().to_std_range()).unwrap_or_default();
        // What is read and written is looked at twice.
        if !self.is_plain(&assign.target) || target.contains('\n') {
            return;
        }
        let Some(op) = self.token(kind, assign.target.end()) else { return };
        if assign.op == Operator::Mod {
            self.parts.extend([Part::Modulo, Part::Text, Part::Tick]);
        }
        self.parts.extend([part, Part::Union]);
        self.edits.wrap(value.range(), format!("__pc_{name}({target},("), "))");
        self.edits.replace(op, "=");
    }

    /// Whether an expression comes to the same however often it is looked at, and as it is written.
    fn is_plain(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Name(_) => true,
            Expr::Attribute(of) => {
                let module = matches!(&*of.value, Expr::Name(name)
                    if self.module(&name.id).is_some() || self.stand_ins.iter().any(|(known, _)| known == name.id.as_str()));
                let ours = module || self.mentions.own(&of.value).is_some() || self.kept(of).is_some();
                !ours && !REWRITTEN.contains(&of.attr.as_str()) && self.is_plain(&of.value)
            }
            Expr::Subscript(of) => self.is_plain(&of.value) && self.is_plain(&of.slice),
            _ => expr.is_literal_expr(),
        }
    }

    /// `text.format(…)`, where the interpreter's own may not do.
    pub(super) fn format(&mut self, call: &ExprCall, function: &ExprAttribute) -> bool {
        let Some(name) = TEXT_METHODS.into_iter().find(|name| *name == function.attr.as_str()) else { return false };
        if self.is_builtin(&function.value, &["str"]) {
            return false;
        }
        self.parts.extend(FORMAT);
        self.method(call, function, name, Part::Format);
        true
    }

    /// `round(x, 2)`, `next(items)` and `format(x, "02d")`.
    pub(super) fn function_of_language(&mut self, call: &ExprCall) -> bool {
        let arguments = &call.arguments;
        let Some((name, stands, part)) = FUNCTIONS.into_iter().find(|(name, ..)| self.is_builtin(&call.func, &[name]))
        else {
            return false;
        };
        let (one, first) = (arguments.len() == 1, arguments.args.first());
        if name == "round" && one || name == "next" && first.is_some_and(is_written_down) {
            return false;
        }
        self.parts.extend(FORMAT);
        self.parts.insert(part);
        self.edits.replace(call.func.range(), stands);
        true
    }

    /// `f"{now():%H:%M:%S.%f}"`: what the interpreter writes otherwise, or not at all, the prelude writes.
    pub(super) fn formatted(&mut self, element: &InterpolatedElement) -> bool {
        let Some(spec) = &element.format_spec else { return false };
        let [InterpolatedStringElement::Literal(literal)] = &*spec.elements else { return false };
        let text = self.text.get(literal.range().to_std_range()).unwrap_or_default();
        let ours = ["%f", "%z", "%Z"].iter().any(|code| text.contains(code));
        if !ours || element.conversion != ConversionFlag::None || text.contains(['\\', '"', '\'', '\n', '{', '}']) {
            return false;
        }
        let Some(colon) = self.token(TokenKind::Colon, element.expression.end()) else { return false };
        self.parts.extend(FORMAT);
        let value = TextRange::new(element.start() + TextSize::of('{'), colon.start());
        self.edits.wrap(value, "__pc_spec((", ")");
        self.edits.replace(TextRange::new(colon.start(), literal.end()), format!(",\"{text}\")"));
        true
    }

    /// `timedelta(hours=1.5)`: the interpreter's own takes whole numbers.
    pub(super) fn timedelta(&mut self, call: &ExprCall) -> bool {
        let whole = |value: &Expr| matches!(value, Expr::NumberLiteral(number) if number.value.is_int());
        let arguments = &call.arguments;
        let any = !arguments.args.iter().all(whole) || !arguments.keywords.iter().all(|keyword| whole(&keyword.value));
        let stands = any && self.is_of_module(&call.func, "datetime", "timedelta");
        if stands {
            self.parts.insert(Part::Span);
            self.edits.replace(call.func.range(), "__pc_timedelta");
        }
        stands
    }

    /// Whether there may be functions that are counted by whatever name they go.
    pub(super) fn keeps(&self) -> bool {
        self.mentions.patterns || self.mentions.documents
    }

    /// `getattr`, called or not, where there are patterns or documents: `getattr(module, "findall")`.
    pub(super) fn getattr(&mut self, name: &Expr) -> bool {
        let kept = self.keeps() && self.is_builtin(name, &["getattr"]);
        if kept {
            self.parts.extend(KEPT);
            self.edits.replace(name.range(), "__pc_getattr");
        }
        kept
    }

    /// `json.dumps(x, default=str)`.
    pub(super) fn dumps(&mut self, call: &ExprCall) -> bool {
        let default = call.arguments.find_keyword("default").map(|keyword| &keyword.value);
        let given = default.is_some() && self.is_of_module(&call.func, "json", "dumps");
        if let Some(default) = default.filter(|default| given && self.is_builtin(default, &["str"])) {
            self.text_of(default);
        }
        if given {
            self.parts.extend([Part::Dumps, Part::Tick]);
            self.edits.replace(call.func.range(), "__pc_dumps");
        }
        given
    }

    /// `ValueError(code, 5)`: an exception of the interpreter holds one text.
    pub(super) fn exception(&mut self, call: &ExprCall) -> bool {
        let arguments = &call.arguments;
        if !self.is_builtin(&call.func, &EXCEPTIONS) || !arguments.keywords.is_empty() {
            return false;
        }
        let (open, close) = match &*arguments.args {
            [Expr::StringLiteral(_) | Expr::FString(_)] | [] => return false,
            [_] => ("str(__pc_s(", "))"),
            _ => ("str((", "))"),
        };
        if let (Some(first), Some(last)) = (arguments.args.first(), arguments.args.last()) {
            self.parts.insert(Part::Text);
            self.edits.wrap(TextRange::new(first.start(), last.end()), open, close);
        }
        true
    }

    /// The end of a text is `\z` in the interpreter's patterns; `\Z` also stands before a line break there.
    pub(super) fn pattern(&mut self, call: &ExprCall) {
        if !PATTERN_FUNCTIONS.iter().any(|name| self.is_of_module(&call.func, "re", name)) {
            return;
        }
        let pattern = match call.arguments.find_argument_value("pattern", 0) {
            Some(Expr::StringLiteral(pattern)) => {
                // Saving an expression looks at those of `re.match(…)`.
                if call.func.is_name_expr() {
                    self.wrap(pattern.range(), "__pc_pattern(", Part::Pattern);
                }
                pattern
            }
            // What is put together is looked at when it is used (CO-241).
            Some(made) if !made.is_starred_expr() => return self.wrap(made.range(), "__pc_pattern(", Part::Pattern),
            _ => return,
        };
        for part in pattern.value.iter().filter(|part| matches!(part.flags.prefix(), StringLiteralPrefix::Raw { .. })) {
            let text = self.text.get(part.range().to_std_range()).unwrap_or_default();
            let mut escaped = false;
            for (at, byte) in text.bytes().enumerate() {
                if escaped && byte == b'Z' {
                    let at = part.start() + TextSize::try_from(at).unwrap_or_default();
                    self.edits.replace(TextRange::at(at, TextSize::of('Z')), "z");
                }
                escaped = byte == b'\\' && !escaped;
            }
        }
    }

    /// The name of a method that may be one of a regular expression.
    pub(super) fn kept(&self, attribute: &ExprAttribute) -> Option<&'static str> {
        let tests = || {
            let name = ["match", "search", "fullmatch"].into_iter().find(|name| *name == attribute.attr.as_str())?;
            let of_module = matches!(&*attribute.value, Expr::Name(of) if self.module(&of.id).is_some());
            (self.mentions.patterns && !of_module).then_some(name)
        };
        self.finds(attribute).or_else(tests).or_else(|| self.loads(attribute))
    }

    /// The name of a method that may be `json.loads`, whatever the module goes by.
    pub(super) fn loads(&self, attribute: &ExprAttribute) -> Option<&'static str> {
        let of_module = matches!(&*attribute.value, Expr::Name(of) if self.module(&of.id).is_some());
        (self.mentions.documents && !of_module && attribute.attr.as_str() == "loads").then_some("loads")
    }

    /// `find = pattern.findall` keeps a function that calls the method.
    pub(super) fn kept_method_of_pattern(&mut self, attribute: &ExprAttribute) -> bool {
        let (Some(name), Some(dot)) = (self.kept(attribute), self.dot(attribute)) else { return false };
        self.parts.extend(KEPT);
        self.edits.wrap(attribute.range(), format!("__pc_kept_{name}("), ")");
        self.cut(TextRange::new(dot.start(), attribute.attr.end()), "");
        true
    }

    /// `class A(object):` is `class A:`.
    pub(super) fn class(&mut self, class: &StmtClassDef) {
        if let Some(bases) = class.arguments.as_ref().filter(|bases| is_object(bases)) {
            self.cut(bases.range(), "");
        }
    }

    /// What stands for names of `typing`.
    pub(super) fn of_typing(name: &str) -> &'static str {
        match name {
            "TYPE_CHECKING" => "False",
            "cast" => "(lambda __pc_x,__pc_v:__pc_v)",
            "TypeVar" | "NewType" => "(lambda *__pc_a,**__pc_k:None)",
            _ => "None",
        }
    }

    /// The names that an import of `typing` gives.
    pub(super) fn import_of_typing(names: &[Alias]) -> Vec<String> {
        let given = |alias: &Alias| {
            format!("{}={}", alias.asname.as_ref().unwrap_or(&alias.name), Self::of_typing(&alias.name))
        };
        names.iter().filter(|alias| alias.name.as_str() != "*").map(given).collect()
    }

    /// `Dict[str, Any]` outside of an annotation is nothing, too.
    pub(super) fn is_of_typing(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Name(name) => self.mentions.imported.iter().any(|(known, module, _)| {
                known == name.id.as_str() && module == crate::check::TYPING && !self.mentions.made.contains(known)
            }),
            Expr::Attribute(of) => matches!(&*of.value, Expr::Name(name) if self.is_typing(&name.id)),
            _ => false,
        }
    }

    /// Whether a name is that of the module `typing`.
    pub(super) fn is_typing(&self, name: &str) -> bool {
        !self.mentions.assigned.contains(name) && self.mentions.typing.iter().any(|known| known == name)
    }
}

/// Whether an expression is text or a list that is written down.
fn is_text(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::StringLiteral(_) | Expr::FString(_) | Expr::List(_) | Expr::ListComp(_) | Expr::BytesLiteral(_)
    )
}

/// Whether the interpreter knows by itself what comes first in this, or that nothing does.
fn is_written_down(expr: &Expr) -> bool {
    matches!(expr, Expr::Generator(_) | Expr::List(_) | Expr::ListComp(_))
}
