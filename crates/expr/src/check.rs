//! What an expression may not contain, reported while it is saved (CO-223, CO-239).

use ruff_python_ast::{
    Alias, Expr, ExprContext, Operator, Stmt, StmtImportFrom,
    visitor::{self, Visitor},
};
use ruff_text_size::{Ranged, TextRange, TextSize};

use crate::{
    error::CompileError,
    members::{holds, modules, names},
    scan::Mentions,
    source::Lines,
};

/// Names of our own in compiled text begin with this, so nobody else's may.
pub(crate) const RESERVED: &str = "__pc_";

/// Modules that can be imported, and that are there without.
pub(crate) const MODULES: [&str; 8] =
    ["re", "json", "datetime", "math", "base64", "collections", "itertools", "functools"];

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

/// Kinds of objects, which are for reading only.
const MODELS: [&str; 8] = ["User", "Group", "Application", "Provider", "Source", "Brand", "Event", "Token"];

/// Names that exist elsewhere and not here.
const ABSENT: [(&str, Option<&str>); 27] = [
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
    ("format", Some("use an f-string")),
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
const PATTERN_FUNCTIONS: [&str; 9] =
    ["match", "search", "fullmatch", "sub", "subn", "compile", "findall", "finditer", "split"];

/// Reports the first thing that an expression may not contain.
pub(crate) fn check(body: &[Stmt], mentions: &Mentions, dns: bool, lines: &Lines) -> Result<(), CompileError> {
    let mut check = Check { mentions, dns, lines, modules: modules(body, mentions), error: None };
    check.visit_body(body);
    check.error.map_or(Ok(()), Err)
}

struct Check<'a> {
    mentions: &'a Mentions,
    dns: bool,
    lines: &'a Lines,
    modules: Vec<(String, &'static str)>,
    error: Option<CompileError>,
}

impl Check<'_> {
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
        if MODULES.contains(&name) || STAND_INS.iter().any(|(module, _)| *module == name) {
            return;
        }
        if name == "requests" || name.starts_with("authentik") {
            return self.not_available(alias.range(), name, None);
        }
        self.unsupported(
            alias.range(),
            &format!("import of '{name}'"),
            &format!("modules are {}; helpers need no import", MODULES.join(", ")),
        );
    }

    /// Reports what a module of ours does not hold.
    fn member(&mut self, range: TextRange, module: &str, name: &str) {
        if !holds(module, name) {
            self.unsupported(range, &format!("'{module}.{name}'"), &format!("{module} holds {}", names(module)));
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
        if import.level == 0 && module == "__future__" {
            return;
        }
        for alias in &import.names {
            let full = format!("{module}.{}", alias.name);
            if PROVIDED.contains(&alias.name.as_str()) || STAND_INS.iter().any(|(module, _)| *module == full) {
                continue;
            }
            if module == "requests" || module.starts_with("authentik") {
                self.not_available(import.range(), &full, None);
            } else {
                self.unsupported(
                    import.range(),
                    &format!("import of '{}' from '{module}'", alias.name),
                    &format!("modules are {}; helpers need no import", MODULES.join(", ")),
                );
            }
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Delete(_) => self.unsupported(stmt.range(), "`del`", "use .pop(key) for entries of a dict or list"),
            Stmt::Match(_) => self.unsupported(stmt.range(), "`match`", "use if and elif"),
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
                if def.arguments.as_ref().is_some_and(|arguments| !arguments.is_empty()) {
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
            Expr::BinOp(binary)
                if binary.op == Operator::Mod
                    && matches!(&*binary.left, Expr::StringLiteral(_) | Expr::FString(_) | Expr::BytesLiteral(_)) =>
            {
                self.unsupported(expr.range(), "formatting with `%`", "use an f-string");
            }
            Expr::Subscript(subscript)
                if subscript.ctx == ExprContext::Store && matches!(&*subscript.slice, Expr::Slice(_)) =>
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
        visitor::walk_expr(self, expr);
    }

    fn visit_annotation(&mut self, _: &'a Expr) {}

    fn visit_parameter(&mut self, parameter: &'a ruff_python_ast::Parameter) {
        self.name(&parameter.name, parameter.name.range());
    }

    fn visit_alias(&mut self, alias: &'a Alias) {
        if let Some(name) = &alias.asname {
            self.name(name, name.range());
        }
    }
}
