//! Edits that let the interpreter run what it does not know by itself (CO-222), and that count steps (CO-224).
//!
//! An edit replaces an operation by a call of a function of the prelude, in its place and on its line, so that values
//! the function does not care about behave as before. Text within strings and comments is never touched.

mod matching;
mod python;
mod statements;

use std::{borrow::Cow, collections::BTreeSet};

use ruff_python_ast::{
    CmpOp, Comprehension, ConversionFlag, Expr, ExprAttribute, ExprCall, ExprCompare, ExprContext,
    InterpolatedStringElement, Operator, Stmt,
    token::{TokenKind, Tokens},
    visitor::{self, Visitor},
};
use ruff_text_size::{Ranged, TextRange, TextSize};

pub(crate) use matching::unmatchable;

use crate::{
    check,
    collections::METHODS,
    members::{is_own, modules, own, supplied},
    prelude::Part,
    scan::{self, Mentions, stand_ins},
    source::Edits,
};

/// Attributes that hold instants, so that an expression that reads one may subtract it.
const INSTANTS: [&str; 7] =
    ["date_joined", "last_login", "last_updated", "password_change_date", "created", "expires", "auth_time"];

/// Methods of `datetime` and `date` that the prelude has.
const CLOCK: [&str; 4] = ["fromtimestamp", "utcfromtimestamp", "utcnow", "today"];

/// What the edits of one expression come to.
pub(crate) struct Rewritten {
    pub(crate) edits: Edits,
    pub(crate) parts: BTreeSet<Part>,
}

/// Edits the body of an expression.
pub(crate) fn rewrite<'a>(text: &'a str, body: &[Stmt], tokens: &'a Tokens, mentions: &'a Mentions) -> Rewritten {
    let reads = |names: &[&str]| names.iter().any(|name| mentions.reads(name));
    let attributes = |names: &[&str]| names.iter().any(|name| mentions.attributes.contains(*name));
    let addresses = reads(&["ip_address", "ip_network", "ak_client_ip", "IpAddress", "IpNetwork"]);
    let instants = reads(&["now", "datetime", "timezone", "timedelta"])
        || mentions.bound.contains("datetime")
        || attributes(&INSTANTS);
    let mut rewrite = Rewrite {
        text,
        tokens,
        edits: Edits::default(),
        parts: BTreeSet::new(),
        addresses,
        ordered: addresses || instants,
        instants,
        spans: reads(&["timedelta"]) || attributes(&["timedelta"]),
        mappings: attributes(&["headers", "GET"]),
        sets: mentions.sets || reads(&["set", "frozenset"]),
        modules: modules(body, mentions),
        mentions,
        stand_ins: stand_ins(body),
        matches: 0,
    };
    if mentions.versions {
        rewrite.parts.insert(Part::Versions);
    }
    for (name, part) in
        [("struct", Part::Struct), ("list_flatten", Part::Flatten), (scan::CALL_POLICY, Part::CallPolicy)]
    {
        if mentions.reads(name) {
            rewrite.parts.insert(part);
        }
    }
    rewrite.function(body, None);
    Rewritten { edits: rewrite.edits, parts: rewrite.parts }
}

struct Rewrite<'a> {
    text: &'a str,
    tokens: &'a Tokens,
    edits: Edits,
    parts: BTreeSet<Part>,
    /// Whether there may be addresses and networks.
    addresses: bool,
    /// Whether instants or addresses may be compared or subtracted.
    ordered: bool,
    /// Whether there may be instants.
    instants: bool,
    /// Whether there may be spans of time.
    spans: bool,
    /// Whether headers or query parameters may be indexed.
    mappings: bool,
    /// Whether sets may be compared.
    sets: bool,
    mentions: &'a Mentions,
    /// Names of modules.
    modules: Vec<(String, &'static str)>,
    stand_ins: Vec<(String, &'static [&'static str])>,
    /// How many `match` there have been.
    matches: usize,
}

impl Rewrite<'_> {
    /// The body of a function: the whole expression, or a `def` within, which begins with a tick.
    fn function(&mut self, body: &[Stmt], def: Option<&Stmt>) {
        let yields = yields(body);
        if yields && let (Some(first), Some(last)) = (body.first(), body.last()) {
            self.before(first, "__pc_y = []");
            let inline = self.indent(first).is_none();
            let back = match self.indent(first) {
                _ if inline => ";return __pc_y".to_owned(),
                Some(indent) => format!("\n {indent}return __pc_y"),
                None => String::new(),
            };
            self.edits.append(last.end(), back);
        }
        if let (Some(_), Some(first)) = (def, body.first()) {
            self.tick(first);
        }
        let mut inside = Inside { rewrite: self, yields };
        inside.visit_body(body);
    }

    /// What stands before a statement in its line, if it is only white space.
    fn indent(&self, stmt: &Stmt) -> Option<&str> {
        let before = self.text.get(..stmt.start().to_usize())?;
        let line = before.rsplit('\n').next()?;
        // At the very first column the line is indented by nothing; `indent_lines` adds its own in front of both.
        line.trim().is_empty().then_some(line)
    }

    /// Puts a simple statement in front of another one.
    fn before(&mut self, stmt: &Stmt, text: &'static str) {
        let compound = matches!(
            stmt,
            Stmt::If(_)
                | Stmt::For(_)
                | Stmt::While(_)
                | Stmt::With(_)
                | Stmt::Try(_)
                | Stmt::FunctionDef(_)
                | Stmt::ClassDef(_)
        );
        // After a semicolon the parser takes these names for the beginning of a statement of several lines.
        let rest = self.text.get(stmt.start().to_usize()..).unwrap_or_default();
        let word = rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
        let compound = compound || matches!(word, Some("match" | "case" | "type"));
        let text = match self.indent(stmt) {
            Some(indent) if compound => format!("{text}\n {indent}"),
            _ => format!("{text};"),
        };
        self.edits.insert(stmt.start(), text);
    }

    fn tick(&mut self, first: &Stmt) {
        self.parts.insert(Part::Tick);
        self.before(first, "__pc_t()");
    }

    fn wrap(&mut self, range: TextRange, open: impl Into<Cow<'static, str>>, part: Part) {
        self.parts.insert(part);
        self.edits.wrap(range, open, ")");
    }

    /// The first token of a kind at or after a position.
    fn token(&self, kind: TokenKind, from: TextSize) -> Option<TextRange> {
        self.tokens.after(from).iter().find(|token| token.kind() == kind).map(Ranged::range)
    }

    /// `value.method(…)` becomes `function(value, …)`: what lies between value and arguments is a dot and a name.
    fn method(&mut self, call: &ExprCall, function: &ExprAttribute, name: &str, part: Part) {
        let Some(dot) = self.dot(function) else { return };
        let Some(open) = self.token(TokenKind::Lpar, function.attr.end()) else { return };
        self.parts.insert(part);
        self.edits.wrap(TextRange::new(call.start(), call.end()), format!("__pc_{name}("), "");
        self.cut(TextRange::new(dot.start(), open.end()), ",");
    }

    /// `value.name` becomes `function(value.name)`, or `function(value)` when the function reads it itself.
    fn dot(&self, attribute: &ExprAttribute) -> Option<TextRange> {
        self.tokens
            .in_range(TextRange::new(attribute.value.end(), attribute.attr.start()))
            .iter()
            .rev()
            .find(|token| token.kind() == TokenKind::Dot)
            .map(Ranged::range)
    }

    /// Replaces a range, keeping its line breaks.
    fn cut(&mut self, range: TextRange, text: &'static str) {
        let breaks = self.text.get(range.start().to_usize()..range.end().to_usize()).unwrap_or_default();
        self.edits.replace(range, format!("{}{text}", "\n".repeat(breaks.matches('\n').count())));
    }

    fn call(&mut self, call: &ExprCall) {
        self.kept_methods(call);
        if self.dumps(call) || self.timedelta(call) {
            return;
        }
        self.pattern(call);
        match &*call.func {
            Expr::Attribute(function) if METHODS.contains(&function.attr.as_str()) => {
                if let Some(name) = METHODS.into_iter().find(|name| *name == function.attr.as_str()) {
                    self.parts.insert(Part::Tick);
                    self.method(call, function, name, Part::Collection(name));
                }
            }
            // Dicts have such methods, too, which take no such arguments.
            Expr::Attribute(function) if let Some(name) = asks_objects(call, function) => {
                self.method(call, function, name, Part::Collection(name));
            }
            Expr::Attribute(function)
                if self.ordered && matches!(function.attr.as_str(), "total_seconds" | "astimezone") =>
            {
                self.method(call, function, &function.attr, Part::Order);
            }
            Expr::Attribute(function) if CLOCK.contains(&function.attr.as_str()) => {
                self.method(call, function, &function.attr, Part::Clock);
            }
            Expr::Attribute(function) if matches!(function.attr.as_str(), "strftime" | "strptime") => {
                self.method(call, function, &function.attr, Part::Instants);
            }
            Expr::Attribute(function) if function.attr.as_str() == "isoformat" && !call.arguments.is_empty() => {
                self.method(call, function, "isoformat", Part::Instants);
            }
            Expr::Attribute(function) if self.format(call, function) => {}
            Expr::Attribute(function) if function.attr.as_str() == "translate" => {
                self.method(call, function, "translate", Part::Translate);
            }
            Expr::Attribute(function)
                if function.attr.as_str() == "from_iterable"
                    && self.is_of_module(&function.value, "itertools", "chain") =>
            {
                self.parts.extend([Part::Chained, Part::Tick]);
                self.edits.replace(call.func.range(), "__pc_chained");
            }
            Expr::Attribute(function) if self.gathers(call, function) => {}
            Expr::Attribute(function) if function.attr.as_str() == "sub" => self.replacement(call, Some(function)),
            Expr::Attribute(function) if let Some(name) = self.finds(function) => {
                self.method(call, function, name, Part::Found);
            }
            Expr::Attribute(function) if self.loads(function).is_some() => {
                self.parts.insert(Part::Tick);
                self.method(call, function, "loads_by", Part::Loads);
            }
            Expr::Attribute(function) => {
                self.method_of_text(function);
            }
            Expr::Name(_) if self.is_builtin(&call.func, &["sum"]) => {
                self.parts.extend([Part::Truth, Part::Tick]);
                self.edits.replace(call.func.range(), "__pc_sum");
            }
            Expr::Name(name) if self.mentions.is_imported(&name.id, "re", "sub") => self.replacement(call, None),
            Expr::Name(_) if self.function_of_language(call) || self.exception(call) => {}
            Expr::Name(_) if self.is_builtin(&call.func, &["str"]) && call.arguments.keywords.is_empty() => {
                if let [argument] = &*call.arguments.args
                    && may_be_object(argument)
                {
                    self.wrap(argument.range(), "__pc_s(", Part::Text);
                }
            }
            Expr::Name(_) if self.is_builtin(&call.func, &["next"]) => {
                if let Some(Expr::Generator(generator)) = call.arguments.args.first() {
                    self.edits.wrap(generator.range(), "iter(", ")");
                }
            }
            _ => {}
        }
    }

    /// `ipaddress.ip_address` becomes `ip_address`, `itertools.product` what the prelude has for it.
    fn stand_in(&mut self, attribute: &ExprAttribute) -> bool {
        if let Some((stands, part)) = self.mentions.own(&attribute.value).and_then(|of| own(of, &attribute.attr)) {
            let stands = self.supply_own(stands, part);
            self.edits.replace(attribute.range(), stands);
            return true;
        }
        let Expr::Name(name) = &*attribute.value else { return false };
        if self.is_typing(&name.id) {
            self.edits.replace(attribute.range(), Self::of_typing(&attribute.attr));
            return true;
        }
        if let Some((stands, part)) = self.module(&name.id).and_then(|module| supplied(module, &attribute.attr)) {
            let stands = self.supply(stands, part);
            self.edits.replace(attribute.range(), stands);
            return true;
        }
        let found = self.stand_ins.iter().find(|(module, _)| *module == name.id.as_str());
        if let (Some(_), Some(stands)) = (found, check::of_version(&attribute.attr)) {
            self.edits.replace(attribute.range(), stands);
            return true;
        }
        let stands_in = found.is_some_and(|(_, names)| names.contains(&attribute.attr.as_str()));
        if stands_in {
            self.edits.replace(TextRange::new(attribute.start(), attribute.attr.start()), "");
        }
        stands_in
    }

    fn attribute(&mut self, expr: &Expr, attribute: &ExprAttribute) {
        if self.stand_in(attribute)
            || attribute.ctx != ExprContext::Load
            || self.method_of_text(attribute)
            || self.method_of_sets(attribute)
            || self.kept_method_of_pattern(attribute)
        {
            return;
        }
        match attribute.attr.as_str() {
            "headers" => self.wrap(expr.range(), "__pc_headers(", Part::Mappings),
            "GET" => self.wrap(expr.range(), "__pc_query(", Part::Mappings),
            name @ ("days" | "seconds" | "microseconds") if self.ordered => {
                if let Some(dot) = self.dot(attribute) {
                    self.wrap(expr.range(), format!("__pc_{name}("), Part::Order);
                    self.cut(TextRange::new(dot.start(), attribute.attr.end()), "");
                }
            }
            _ => {}
        }
    }

    fn expr(&mut self, expr: &Expr) {
        if let Expr::Compare(compare) = expr
            && self.sets
        {
            self.order_of_sets(expr, compare);
        }
        match expr {
            Expr::Call(call) => self.call(call),
            Expr::Name(_) if self.is_builtin(expr, &["pow"]) => {
                self.parts.insert(Part::Power);
                self.edits.replace(expr.range(), "__pc_pow");
            }
            Expr::Name(_) if self.getattr(expr) => {}
            Expr::Name(_) if self.mentions.versions && self.is_builtin(expr, &["isinstance"]) => {
                self.edits.replace(expr.range(), "__pc_isinstance");
            }
            Expr::Attribute(attribute) => self.attribute(expr, attribute),
            Expr::Subscript(subscript)
                if self.mappings
                    && subscript.ctx == ExprContext::Load
                    && !matches!(&*subscript.slice, Expr::Slice(_) | Expr::Tuple(_) | Expr::NumberLiteral(_)) =>
            {
                if let Some(open) = self.token(TokenKind::Lsqb, subscript.value.end()) {
                    self.parts.insert(Part::Mappings);
                    let inner = TextRange::new(expr.start(), expr.end() - TextSize::new(1));
                    self.edits.wrap(inner, "__pc_item(", "");
                    self.edits.replace(open, ",");
                    self.edits.replace(TextRange::new(inner.end(), expr.end()), ")");
                }
            }
            Expr::Compare(compare) if self.addresses && matches!(&*compare.ops, [CmpOp::In | CmpOp::NotIn]) => {
                self.membership(expr, compare);
            }
            Expr::Compare(compare) if self.ordered => {
                let operands: Vec<&Expr> = std::iter::once(&*compare.left).chain(&*compare.comparators).collect();
                let order = |op: Option<&CmpOp>| matches!(op, Some(CmpOp::Lt | CmpOp::LtE | CmpOp::Gt | CmpOp::GtE));
                let equal = |op: Option<&CmpOp>| self.spans && matches!(op, Some(CmpOp::Eq | CmpOp::NotEq));
                let equals: Vec<bool> = (0..=compare.ops.len())
                    .map(|at| equal(compare.ops.get(at)) || at > 0 && equal(compare.ops.get(at - 1)))
                    .collect();
                for (at, operand) in operands.into_iter().enumerate() {
                    let before = at.checked_sub(1).and_then(|at| compare.ops.get(at));
                    if (order(before) || order(compare.ops.get(at))) && !operand.is_literal_expr() {
                        self.wrap(operand.range(), "__pc_k(", Part::Order);
                    } else if equals.get(at) == Some(&true) && !operand.is_literal_expr() {
                        self.wrap(operand.range(), "__pc_e(", Part::Order);
                    }
                }
            }
            Expr::BinOp(binary) => self.binary(expr, binary),
            Expr::Lambda(lambda) => {
                self.parts.insert(Part::Tick);
                self.edits.wrap(lambda.body.range(), "__pc_t()and(", ")");
            }
            _ => {}
        }
    }

    /// `x in y` becomes a call that says what is wrong, on the user's line: from within `__contains__` it could not.
    fn membership(&mut self, expr: &Expr, compare: &ExprCompare) {
        let Some(word) = self.token(TokenKind::In, compare.left.end()) else { return };
        self.parts.insert(Part::Addresses);
        let negated = matches!(&*compare.ops, [CmpOp::NotIn]);
        let not = self.token(TokenKind::Not, compare.left.end()).filter(|_| negated);
        let (open, close) = if negated { ("(not __pc_in(", "))") } else { ("__pc_in(", ")") };
        self.edits.wrap(expr.range(), open, close);
        self.cut(TextRange::new(not.unwrap_or(word).start(), word.end()), ",");
    }

    fn comprehension(&mut self, comprehension: &Comprehension) {
        self.parts.insert(Part::Tick);
        match comprehension.ifs.first() {
            Some(condition) => self.edits.wrap(condition.range(), "__pc_t()and(", ")"),
            None => self.edits.append(comprehension.range.end(), " if __pc_t()"),
        }
    }

    /// Drops imports of what is built in, keeping new names that they give it.
    fn import(&mut self, stmt: &Stmt) {
        let kept: Vec<String> = match stmt {
            Stmt::ImportFrom(import) => {
                let module = import.module.as_ref().map(|module| module.as_str()).unwrap_or_default();
                if check::MODULES.contains(&module) {
                    return self.import_of_ours(stmt, module, &import.names);
                }
                let mut ours = if module == check::TYPING { Self::import_of_typing(&import.names) } else { Vec::new() };
                for alias in &import.names {
                    if let (true, Some(stands)) = (module == "ipaddress", check::of_version(&alias.name)) {
                        ours.push(format!("{}={stands}", alias.asname.as_ref().unwrap_or(&alias.name)));
                    }
                    if let Some((stands, part)) = own(module, &alias.name) {
                        let stands = self.supply_own(stands, part);
                        ours.push(format!("{}={stands}", alias.asname.as_ref().unwrap_or(&alias.name)));
                    }
                }
                let renamed = import.names.iter().filter(|alias| check::PROVIDED.contains(&alias.name.as_str()));
                let renamed = renamed.filter_map(|a| a.asname.as_ref().map(|new| format!("{new}={}", a.name)));
                ours.into_iter().chain(renamed).collect()
            }
            Stmt::Import(import) => {
                let stands_in = |name: &str| {
                    name == check::TYPING
                        || is_own(name)
                        || check::STAND_INS.iter().any(|(stand_in, _)| *stand_in == name)
                };
                if !import.names.iter().any(|alias| stands_in(&alias.name)) {
                    return;
                }
                let others = import.names.iter().filter(|alias| check::MODULES.contains(&alias.name.as_str()));
                others
                    .map(|alias| format!("import {}", self.text.get(alias.range().to_std_range()).unwrap_or_default()))
                    .collect()
            }
            _ => return,
        };
        let breaks = self.text.get(stmt.range().to_std_range()).unwrap_or_default().matches('\n').count();
        let kept = if kept.is_empty() { "pass".to_owned() } else { kept.join(";") };
        // Lines that are gone must not shift those after them, so blank ones take their place.
        self.edits.replace(stmt.range(), format!("{kept}{}", "\n".repeat(breaks)));
    }
}

/// `groups.get(name="staff")` and `groups.values("name")`.
fn asks_objects(call: &ExprCall, function: &ExprAttribute) -> Option<&'static str> {
    let (positional, keywords) = (!call.arguments.args.is_empty(), !call.arguments.keywords.is_empty());
    match function.attr.as_str() {
        "get" if keywords && !positional => Some("get"),
        "values" if positional && !keywords => Some("values"),
        _ => None,
    }
}

/// Whether a value may be one of the host's objects, whose text is its name.
fn may_be_object(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Name(_) | Expr::Attribute(_) | Expr::Call(_) | Expr::Subscript(_) | Expr::If(_) | Expr::BoolOp(_)
    )
}

/// Whether a function yields, functions within it aside.
fn yields(body: &[Stmt]) -> bool {
    struct Yields(bool);
    impl<'a> Visitor<'a> for Yields {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            if !matches!(stmt, Stmt::FunctionDef(_) | Stmt::ClassDef(_)) {
                visitor::walk_stmt(self, stmt);
            }
        }

        fn visit_expr(&mut self, expr: &'a Expr) {
            match expr {
                Expr::Yield(_) | Expr::YieldFrom(_) => self.0 = true,
                Expr::Lambda(_) => {}
                _ => visitor::walk_expr(self, expr),
            }
        }
    }
    let mut yields = Yields(false);
    yields.visit_body(body);
    yields.0
}

/// Walks the statements of one function.
struct Inside<'r, 'a> {
    rewrite: &'r mut Rewrite<'a>,
    yields: bool,
}

impl<'a> Visitor<'a> for Inside<'_, '_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(def) => {
                for decorator in &def.decorator_list {
                    self.visit_decorator(decorator);
                }
                self.visit_parameters(&def.parameters);
                return self.rewrite.function(&def.body, Some(stmt));
            }
            Stmt::For(for_) => {
                if let Some(first) = for_.body.first() {
                    self.rewrite.tick(first);
                }
            }
            Stmt::While(while_) => {
                self.rewrite.parts.insert(Part::Tick);
                self.rewrite.edits.wrap(while_.test.range(), "__pc_t()and(", ")");
            }
            Stmt::AugAssign(assign) => {
                self.rewrite.in_place(assign);
                if !matches!(assign.op, Operator::BitOr | Operator::BitAnd | Operator::BitXor | Operator::Mod) {
                    self.rewrite.truths(&[&assign.value]);
                }
            }
            Stmt::Import(_) | Stmt::ImportFrom(_) => return self.rewrite.import(stmt),
            Stmt::Delete(delete) => self.rewrite.delete(delete),
            Stmt::Assign(assign) => self.rewrite.put(assign),
            Stmt::ClassDef(class) => self.rewrite.class(class),
            Stmt::Match(matching) => {
                self.rewrite.matching(matching);
                self.visit_expr(&matching.subject);
                for case in &matching.cases {
                    // What stands for a pattern is made of its text.
                    if let Some(guard) = &case.guard {
                        self.visit_expr(guard);
                    }
                    self.visit_body(&case.body);
                }
                return;
            }
            Stmt::Return(back) if self.yields => match &back.value {
                Some(value) => self.rewrite.edits.wrap(value.range(), "(", ", __pc_y)[1]"),
                None => self.rewrite.edits.append(back.end(), " __pc_y"),
            },
            Stmt::Expr(expr) => match &*expr.value {
                Expr::Yield(yielded) => {
                    let keyword = TextRange::at(yielded.start(), TextSize::of("yield"));
                    match &yielded.value {
                        Some(value) => {
                            self.rewrite.edits.replace(keyword, "__pc_y.append((");
                            self.rewrite.edits.append(yielded.end(), "))");
                            self.visit_expr(value);
                        }
                        None => self.rewrite.edits.replace(keyword, "__pc_y.append(None)"),
                    }
                    return;
                }
                Expr::YieldFrom(yielded) => {
                    if let Some(from) = self.rewrite.token(TokenKind::From, yielded.start()) {
                        self.rewrite.edits.replace(TextRange::new(yielded.start(), from.end()), "__pc_y.extend((");
                        self.rewrite.edits.append(yielded.end(), "))");
                    }
                    return self.visit_expr(&yielded.value);
                }
                _ => {}
            },
            _ => {}
        }
        visitor::walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Subscript(subscript) = expr
            && self.rewrite.is_of_typing(&subscript.value)
        {
            return self.rewrite.edits.replace(expr.range(), "None");
        }
        self.rewrite.expr(expr);
        // What a method call is rewritten from is not an attribute any more.
        if let Expr::Call(call) = expr
            && let Expr::Attribute(function) = &*call.func
        {
            if !self.rewrite.stand_in(function) {
                self.visit_expr(&function.value);
            }
            return self.visit_arguments(&call.arguments);
        }
        visitor::walk_expr(self, expr);
    }

    fn visit_comprehension(&mut self, comprehension: &'a Comprehension) {
        self.rewrite.comprehension(comprehension);
        visitor::walk_comprehension(self, comprehension);
    }

    fn visit_interpolated_string_element(&mut self, element: &'a InterpolatedStringElement) {
        if let InterpolatedStringElement::Interpolation(inner) = element {
            // `{value=}` prints its own source, which must stay as it was typed.
            if inner.debug_text.is_some() {
                return;
            }
            if self.rewrite.formatted(inner) {
                return self.visit_expr(&inner.expression);
            }
            if inner.conversion != ConversionFlag::Repr && may_be_object(&inner.expression) {
                self.rewrite.wrap(inner.expression.range(), "__pc_s(", Part::Text);
            }
        }
        visitor::walk_interpolated_string_element(self, element);
    }

    fn visit_annotation(&mut self, _: &'a Expr) {}
}
