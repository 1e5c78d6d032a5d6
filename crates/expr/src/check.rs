//! What an expression may not contain, reported while it is saved (CO-223, CO-239).

use ruff_python_ast::{
    Alias, Arguments, ExceptHandler, Expr, ExprContext, ExprSubscript, Pattern, Stmt, StmtAssign, StmtGlobal,
    StmtImportFrom, StmtNonlocal, TypeParam,
    visitor::{self, Visitor},
};
use ruff_text_size::{Ranged, TextRange, TextSize};

use crate::{
    error::CompileError,
    members::{BUILT_IN, holds, is_own, modules, names, names_of_own, own},
    rewrite::unmatchable,
    scan::{Mentions, bound, stand_ins},
    source::Lines,
};

/// Names of our own in compiled text begin with this, so nobody else's may.
pub(crate) const RESERVED: &str = "__pc_";

/// Modules that can be imported, and that are there without.
pub(crate) const MODULES: [&str; 9] =
    ["re", "json", "datetime", "math", "base64", "collections", "itertools", "functools", "unicodedata"];

/// The module of annotations, which are not evaluated: all that it holds is nothing at all.
pub(crate) const TYPING: &str = "typing";

/// What to write instead of modules that people import elsewhere.
const INSTEAD: [(&str, &str); 10] = [
    ("dataclasses", "write a plain class, or struct(a=1)"),
    ("enum", "write a plain class, or a dict"),
    ("logging", "use ak_logger"),
    ("os", "expressions see nothing of the machine"),
    ("pytz", "times are UTC; datetime.timezone(datetime.timedelta(hours=1)) is a zone"),
    ("random", "there is no randomness in expressions"),
    ("secrets", "there is no randomness in expressions"),
    ("structlog", "use ak_logger"),
    ("uuid", "a UUID is a text here: user.uuid"),
    ("zoneinfo", "times are UTC; datetime.timezone(datetime.timedelta(hours=1)) is a zone"),
];

/// Names that are built in, so that importing them changes nothing.
pub(crate) const PROVIDED: [&str; 22] = [
    "User",
    "Group",
    "Application",
    "Provider",
    "Source",
    "Brand",
    "Event",
    "Token",
    "PolicyResult",
    "PolicyRequest",
    "IpAddress",
    "IpNetwork",
    "Instant",
    "ip_address",
    "ip_network",
    "now",
    "resolve_dns",
    "reverse_dns",
    "slugify",
    "regex_match",
    "regex_replace",
    "list_flatten",
];

/// Modules whose import is dropped because all that one uses of them is built in.
pub(crate) const STAND_INS: [(&str, &[&str]); 2] =
    [("ipaddress", &["ip_address", "ip_network"]), ("django.utils.timezone", &["now"])];

/// What makes addresses and networks of one version of the protocol.
pub(crate) fn of_version(name: &str) -> Option<&'static str> {
    match name {
        "IPv4Address" => Some("__pc_v4"),
        "IPv6Address" => Some("__pc_v6"),
        "IPv4Network" => Some("__pc_n4"),
        "IPv6Network" => Some("__pc_n6"),
        _ => None,
    }
}

/// Kinds of objects, which are for reading only.
const MODELS: [&str; 8] = ["User", "Group", "Application", "Provider", "Source", "Brand", "Event", "Token"];

/// Names that exist elsewhere and not here.
const ABSENT: [(&str, Option<&str>); 26] = [
    ("requests", Some("expressions send no requests")),
    ("ak_create_jwt", None),
    ("ak_create_jwt_raw", None),
    ("ak_send_email", Some("create an event and let a notification rule send it")),
    ("open", None),
    ("eval", None),
    ("exec", None),
    ("compile", None),
    ("__import__", None),
    ("globals", None),
    ("locals", None),
    ("vars", None),
    ("dir", None),
    ("input", None),
    ("breakpoint", None),
    ("callable", None),
    ("issubclass", None),
    ("delattr", None),
    ("super", None),
    ("property", None),
    ("classmethod", None),
    ("staticmethod", None),
    ("bytearray", None),
    ("memoryview", None),
    ("complex", None),
    ("ascii", None),
];

/// Functions of `re` whose first argument is a pattern.
pub(crate) const PATTERN_FUNCTIONS: [&str; 9] =
    ["match", "search", "fullmatch", "sub", "subn", "compile", "findall", "finditer", "split"];

/// Reports the first thing that an expression may not contain.
pub(crate) fn check(body: &[Stmt], mentions: &Mentions, dns: bool, lines: &Lines) -> Result<(), CompileError> {
    let mut check = Check {
        mentions,
        dns,
        lines,
        modules: modules(body, mentions),
        stand_ins: stand_ins(body),
        parts: Vec::new(),
        error: None,
    };
    check.visit_body(body);
    check.error.map_or(Ok(()), Err)
}

struct Check<'a> {
    mentions: &'a Mentions,
    dns: bool,
    lines: &'a Lines,
    modules: Vec<(String, &'static str)>,
    stand_ins: Vec<(String, &'static [&'static str])>,
    /// Parts of lists that an assignment replaces, which the prelude does.
    parts: Vec<TextRange>,
    error: Option<CompileError>,
}

/// What to write instead of an import.
fn instead(module: &str) -> String {
    let known = INSTEAD.iter().find(|(name, _)| *name == module);
    match known {
        Some((_, hint)) => (*hint).to_owned(),
        None => format!("modules are {}; helpers need no import", MODULES.join(", ")),
    }
}

/// The part of a list that an assignment replaces: `xs[1:3] = …`.
pub(crate) fn replaces_part(assign: &StmtAssign) -> Option<&ExprSubscript> {
    match &*assign.targets {
        [Expr::Subscript(target)] if target.start() == assign.start() && is_part(&target.slice) => Some(target),
        _ => None,
    }
}

/// Whether an index is a slice without a step.
pub(crate) fn is_part(index: &Expr) -> bool {
    matches!(index, Expr::Slice(slice) if slice.step.is_none())
}

/// Whether a class has no base but the one that all have.
pub(crate) fn is_object(bases: &Arguments) -> bool {
    bases.keywords.is_empty() && matches!(&*bases.args, [Expr::Name(name)] if name.id.as_str() == "object")
}

impl Check<'_> {
    fn delete(&mut self, target: &Expr) {
        match target {
            Expr::Name(_) => {}
            Expr::Subscript(item) if !item.slice.is_slice_expr() || is_part(&item.slice) => {}
            Expr::Tuple(targets) => targets.elts.iter().for_each(|target| self.delete(target)),
            Expr::List(targets) => targets.elts.iter().for_each(|target| self.delete(target)),
            _ => self.unsupported(target.range(), "`del` of this", "use it for names, items and slices without a step"),
        }
    }

    fn line(&self, at: TextSize) -> u32 {
        self.lines.line(at)
    }

    fn report(&mut self, error: CompileError) {
        self.error.get_or_insert(error);
    }

    fn unsupported(&mut self, range: TextRange, what: &str, hint: &str) {
        let error = CompileError::syntax(self.line(range.start()), format!("{what} does not run here"));
        self.report(if hint.is_empty() { error } else { error.hint(hint) });
    }

    fn not_available(&mut self, range: TextRange, name: &str, hint: Option<&str>) {
        let error = CompileError::not_available(self.line(range.start()), name);
        self.report(match hint {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }

    fn name(&mut self, name: &str, range: TextRange) {
        if name.starts_with(RESERVED) {
            let error = CompileError::syntax(
                self.line(range.start()),
                format!("names that begin with {RESERVED} are reserved"),
            );
            self.report(error);
        }
    }

    fn module(&mut self, alias: &Alias) {
        let name = alias.name.as_str();
        if MODULES.contains(&name)
            || name == TYPING
            || is_own(name)
            || STAND_INS.iter().any(|(module, _)| *module == name)
        {
            return;
        }
        if name == "requests" || name.starts_with("authentik") {
            return self.not_available(alias.range(), name, None);
        }
        self.unsupported(alias.range(), &format!("import of '{name}'"), &instead(name));
    }

    /// Reports what a module of ours does not hold.
    fn member(&mut self, range: TextRange, module: &str, name: &str) {
        if !holds(module, name) {
            self.unsupported(range, &format!("'{module}.{name}'"), &format!("{module} holds {}", names(module)));
        }
    }

    /// Reports what a module that only the prelude has does not hold.
    fn own(&mut self, range: TextRange, module: &str, name: &str) {
        if own(module, name).is_none() {
            self.unsupported(range, &format!("'{module}.{name}'"), &format!("{module} holds {}", names_of_own(module)));
        }
    }

    /// Reports a module of the prelude's own that goes by the name of a variable.
    fn variable(&mut self, alias: &Alias) {
        let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
        let first = name.split('.').next().unwrap_or_default();
        if self.mentions.variables.contains(first) && self.mentions.own.iter().any(|(known, _)| known == name) {
            let hint = format!("import the module by another name: import {} as m", alias.name);
            self.unsupported(alias.range(), &format!("'{first}' for a module and for a variable"), &hint);
        }
    }

    /// What stands for a module that goes by a name, and by nothing else.
    fn stand_in(&self, name: &str) -> Option<&(String, &'static [&'static str])> {
        let imports = self.mentions.imported.iter().filter(|(known, ..)| known == name).count();
        let alone = imports < 2 && !self.mentions.variables.contains(name);
        self.stand_ins.iter().find(|(known, _)| alone && known == name)
    }

    /// Reports a module of the prelude's own that is a value.
    fn value(&mut self, expr: &Expr) {
        let module = match expr {
            Expr::Name(name)
                if name.ctx == ExprContext::Load && !self.mentions.variables.contains(name.id.as_str()) =>
            {
                let first = |known: &str| known.split('.').next() == Some(name.id.as_str());
                let own = self.mentions.own.iter().find(|(known, _)| first(known)).map(|(_, module)| module.clone());
                own.or_else(|| self.stand_in(&name.id).map(|(known, _)| known.clone()))
            }
            Expr::Attribute(_) => self.mentions.own(expr).map(str::to_owned),
            _ => None,
        };
        if let Some(module) = module {
            self.unsupported(expr.range(), &format!("the module '{module}' as a value"), "use what it holds by name");
        }
    }

    fn import_from(&mut self, import: &StmtImportFrom) {
        let module = import.module.as_ref().map(|module| module.as_str()).unwrap_or_default();
        if import.level == 0 && MODULES.contains(&module) {
            for alias in import.names.iter().filter(|alias| alias.name.as_str() != "*") {
                self.member(import.range(), module, &alias.name);
            }
            return;
        }
        if import.level == 0 && (module == "__future__" || module == TYPING) {
            return;
        }
        for alias in &import.names {
            let full = format!("{module}.{}", alias.name);
            if import.level == 0 && is_own(module) {
                self.own(import.range(), module, &alias.name);
                continue;
            }
            if import.level == 0 && (is_own(&full) || module == "ipaddress" && of_version(&alias.name).is_some()) {
                continue;
            }
            if PROVIDED.contains(&alias.name.as_str()) || STAND_INS.iter().any(|(module, _)| *module == full) {
                continue;
            }
            if module == "requests" || module.starts_with("authentik") {
                self.not_available(import.range(), &full, None);
            } else {
                let what = format!("import of '{}' from '{module}'", alias.name);
                self.unsupported(import.range(), &what, &instead(module));
            }
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Delete(delete) => {
                for target in &delete.targets {
                    self.delete(target);
                }
            }
            Stmt::Assign(assign) => self.parts.extend(replaces_part(assign).map(Ranged::range)),
            Stmt::Match(matching) => {
                for pattern in matching.cases.iter().filter_map(|case| unmatchable(&case.pattern)) {
                    self.unsupported(pattern.range(), "this pattern", "name the attributes: Class(name=pattern)");
                }
            }
            Stmt::Global(StmtGlobal { names, .. }) | Stmt::Nonlocal(StmtNonlocal { names, .. }) => {
                for name in names {
                    self.name(name, name.range());
                    if stmt.is_global_stmt() && BUILT_IN.contains(&name.as_str()) {
                        self.unsupported(
                            name.range(),
                            &format!("`global {name}`"),
                            "the name is built in: take another",
                        );
                    }
                }
            }
            Stmt::TypeAlias(_) => self.unsupported(stmt.range(), "`type`", ""),
            Stmt::With(with) if with.is_async => self.unsupported(stmt.range(), "`async with`", ""),
            Stmt::For(for_) if for_.is_async => self.unsupported(stmt.range(), "`async for`", ""),
            Stmt::FunctionDef(def) => {
                self.name(&def.name, def.name.range());
                if def.is_async {
                    self.unsupported(stmt.range(), "`async def`", "");
                }
            }
            Stmt::ClassDef(def) => {
                self.name(&def.name, def.name.range());
                if def.arguments.as_ref().is_some_and(|arguments| !arguments.is_empty() && !is_object(arguments)) {
                    self.unsupported(stmt.range(), "a class with a base class", "write functions, or a plain class");
                }
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    self.module(alias);
                }
            }
            Stmt::ImportFrom(import) => self.import_from(import),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Name(name) => {
                self.name(&name.id, name.range());
                if name.ctx != ExprContext::Load || self.mentions.bound.contains(name.id.as_str()) {
                    return;
                }
                if let Some((absent, hint)) = ABSENT.iter().find(|(absent, _)| *absent == name.id.as_str()) {
                    self.not_available(name.range(), absent, *hint);
                }
                if !self.dns && matches!(name.id.as_str(), "resolve_dns" | "reverse_dns") {
                    self.not_available(name.range(), &name.id, Some("lookups are switched off"));
                }
            }
            Expr::Attribute(attribute) => {
                self.name(&attribute.attr, attribute.attr.range());
                if let Some(module) = self.mentions.own(&attribute.value).map(str::to_owned) {
                    self.own(attribute.range(), &module, &attribute.attr);
                }
                if let Expr::Name(name) = &*attribute.value
                    && let Some((_, module)) = self.modules.iter().find(|(known, _)| *known == name.id.as_str())
                {
                    self.member(attribute.range(), module, &attribute.attr);
                }
                if let Expr::Name(name) = &*attribute.value
                    && attribute.attr.as_str() == "objects"
                    && MODELS.contains(&name.id.as_str())
                    && self.mentions.bound.iter().all(|bound| *bound != name.id.as_str() || MODELS.contains(&&**bound))
                {
                    self.not_available(
                        attribute.range(),
                        &format!("{}.objects", name.id),
                        Some("use ak_user_by, user.all_groups() and the other helpers"),
                    );
                }
            }
            Expr::Subscript(subscript)
                if subscript.ctx == ExprContext::Store
                    && matches!(&*subscript.slice, Expr::Slice(_))
                    && !self.parts.contains(&expr.range()) =>
            {
                self.unsupported(
                    expr.range(),
                    "assignment to a slice",
                    "put a new list together: xs[:1] + new + xs[2:]",
                );
            }
            Expr::Await(_) => self.unsupported(expr.range(), "`await`", ""),
            Expr::Call(call) => {
                for keyword in &call.arguments.keywords {
                    if let Some(name) = &keyword.arg {
                        self.name(name, name.range());
                    }
                }
                if let Expr::Attribute(function) = &*call.func
                    && let Expr::Name(module) = &*function.value
                    && self.modules.iter().any(|(known, of)| *known == module.id.as_str() && *of == "re")
                    && PATTERN_FUNCTIONS.contains(&function.attr.as_str())
                    && let Some(Expr::StringLiteral(pattern)) = call.arguments.args.first()
                    && let Err(reason) = crate::helpers::compile_pattern(pattern.value.to_str())
                {
                    let line = self.line(pattern.range().start());
                    self.report(CompileError::syntax(line, reason));
                }
            }
            _ => {}
        }
    }
}

impl<'a> Visitor<'a> for Check<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        self.stmt(stmt);
        visitor::walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        self.expr(expr);
        if let Expr::Attribute(attribute) = expr
            && self.mentions.own(&attribute.value).is_some()
        {
            return;
        }
        if let Expr::Attribute(attribute) = expr
            && let Expr::Name(name) = &*attribute.value
            && let Some((_, names)) = self.stand_in(&name.id)
        {
            if !names.contains(&attribute.attr.as_str()) && of_version(&attribute.attr).is_none() {
                let hint = format!("it holds {}", names.join(", "));
                self.unsupported(expr.range(), &format!("'{}.{}'", name.id, attribute.attr), &hint);
            }
            return;
        }
        self.value(expr);
        visitor::walk_expr(self, expr);
    }

    fn visit_annotation(&mut self, _: &'a Expr) {}

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        if let Some(name) = bound(pattern) {
            self.name(name, name.range());
        }
        if let Pattern::MatchClass(class) = pattern {
            for keyword in &class.arguments.keywords {
                self.name(&keyword.attr, keyword.attr.range());
            }
        }
        visitor::walk_pattern(self, pattern);
    }

    fn visit_parameter(&mut self, parameter: &'a ruff_python_ast::Parameter) {
        self.name(&parameter.name, parameter.name.range());
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        if let Some(name) = &inner.name {
            self.name(name, name.range());
        }
        visitor::walk_except_handler(self, handler);
    }

    fn visit_type_param(&mut self, parameter: &'a TypeParam) {
        self.name(parameter.name(), parameter.name().range());
    }

    fn visit_alias(&mut self, alias: &'a Alias) {
        self.variable(alias);
        if let Some(name) = &alias.asname {
            self.name(name, name.range());
        }
    }
}
