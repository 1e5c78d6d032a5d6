//! What an expression mentions: names, attributes, text. Decides which values are handed over at all.

use std::collections::HashSet;

use ruff_python_ast::{
    Alias, ExceptHandler, Expr, ExprContext, Identifier, Parameter, Pattern, Stmt,
    visitor::{self, Visitor},
};

use crate::{check, members::is_own};

/// The name that a pattern gives to what it fits, that of patterns in it apart.
pub(crate) fn bound(pattern: &Pattern) -> Option<&Identifier> {
    match pattern {
        Pattern::MatchAs(named) => named.name.as_ref(),
        Pattern::MatchStar(rest) => rest.name.as_ref(),
        Pattern::MatchMapping(items) => items.rest.as_ref(),
        _ => None,
    }
}

/// Names of modules that are imported although everything in them is built in.
pub(crate) fn stand_ins(body: &[Stmt]) -> Vec<(String, &'static [&'static str])> {
    struct Imports(Vec<(String, &'static [&'static str])>);
    impl Imports {
        fn add(&mut self, full: &str, name: &str) {
            let found = check::STAND_INS.iter().find(|(module, _)| *module == full);
            self.0.extend(found.map(|(_, names)| (name.to_owned(), *names)));
        }
    }
    impl<'a> Visitor<'a> for Imports {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            match stmt {
                Stmt::Import(import) => {
                    for alias in &import.names {
                        self.add(&alias.name, alias.asname.as_ref().unwrap_or(&alias.name));
                    }
                }
                Stmt::ImportFrom(import) => {
                    let module = import.module.as_ref().map(|module| module.as_str()).unwrap_or_default();
                    for alias in &import.names {
                        self.add(&format!("{module}.{}", alias.name), alias.asname.as_ref().unwrap_or(&alias.name));
                    }
                }
                _ => visitor::walk_stmt(self, stmt),
            }
        }
    }
    let mut imports = Imports(Vec::new());
    imports.visit_body(body);
    imports.0
}

/// What a program mentions.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    /// Names that are read.
    pub(crate) names: HashSet<String>,
    /// Names that the expression binds itself.
    pub(crate) bound: HashSet<String>,
    /// Those of them that are bound otherwise than by `import`.
    pub(crate) assigned: HashSet<String>,
    /// Names and members that the expression makes itself, otherwise than by `import`.
    pub(crate) made: HashSet<String>,
    /// Names of variables among these: what `import` of a module is called must be none of them.
    pub(crate) variables: HashSet<String>,
    /// What is imported from where: name, module, member.
    pub(crate) imported: Vec<(String, String, String)>,
    /// Names of the module `typing`.
    pub(crate) typing: Vec<String>,
    /// Names, with dots, of modules that only the prelude has: name, module.
    pub(crate) own: Vec<(String, String)>,
    /// Attributes that are read, written or called.
    pub(crate) attributes: HashSet<String>,
    /// Whether there are sets that are written down as such.
    pub(crate) sets: bool,
    /// Whether `re` or something of it is imported, or read without that.
    pub(crate) patterns: bool,
    /// Whether `json` or something of it is imported, or read without that.
    pub(crate) documents: bool,
    /// Whether addresses or networks of one version are made or asked for.
    pub(crate) versions: bool,
    /// Whether a text is exactly `flow_plan`.
    pub(crate) flow_plan: bool,
    /// Policies that are called by names that are written down.
    called: HashSet<String>,
    /// How often that is done, and how often `ak_call_policy` is mentioned at all.
    named_calls: usize,
    calls: usize,
}

/// The function that asks another policy (CO-242).
pub(crate) const CALL_POLICY: &str = "ak_call_policy";

impl Mentions {
    pub(crate) fn of(body: &[Stmt]) -> Self {
        let mut mentions = Self::default();
        mentions.visit_body(body);
        let versions = mentions.attributes.iter().chain(&mentions.names).filter_map(|name| check::of_version(name));
        mentions.versions = versions.count() > 0;
        if mentions.versions {
            let names = ["ip_address", "ip_network", "IpAddress", "IpNetwork"];
            mentions.names.extend(names.into_iter().map(str::to_owned));
        }
        // `timezone.now` reads `now`.
        for (_, names) in stand_ins(body) {
            let read = names.iter().filter(|name| mentions.attributes.contains(**name));
            mentions.names.extend(read.map(|name| (*name).to_owned()));
        }
        mentions
    }

    /// Whether a name is a member of a module and nothing else.
    pub(crate) fn is_imported(&self, name: &str, module: &str, member: &str) -> bool {
        let mut found = self.imported.iter().filter(|(as_name, ..)| as_name == name).peekable();
        found.peek().is_some()
            && found.all(|(_, of, known)| of == module && known == member)
            && !self.variables.contains(name)
    }

    /// The module that only the prelude has, by what it is called in the expression.
    pub(crate) fn own(&self, of: &Expr) -> Option<&str> {
        let name = match of {
            Expr::Name(name) => name.id.to_string(),
            Expr::Attribute(attribute) => match &*attribute.value {
                Expr::Name(name) => format!("{}.{}", name.id, attribute.attr),
                _ => return None,
            },
            _ => return None,
        };
        let first = name.split('.').next().unwrap_or_default();
        let (_, module) = self.own.iter().find(|(known, _)| *known == name)?;
        (!self.variables.contains(first)).then_some(module)
    }

    /// The policies that may be called, if no name is made up on the way.
    pub(crate) fn called(&self) -> Option<&HashSet<String>> {
        (self.calls <= self.named_calls).then_some(&self.called)
    }

    fn make(&mut self, name: &str) {
        self.variables.insert(name.to_owned());
        self.member(name);
    }

    /// What is made under a name: a variable, or a method of a class.
    fn member(&mut self, name: &str) {
        self.bound.insert(name.to_owned());
        self.assigned.insert(name.to_owned());
        self.made.insert(name.to_owned());
    }

    /// Whether a name is read that the expression does not bind itself.
    pub(crate) fn reads(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

impl<'a> Visitor<'a> for Mentions {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(def) => {
                self.make(&def.name);
                visitor::walk_stmt(self, stmt);
            }
            Stmt::ClassDef(def) => {
                self.make(&def.name);
                def.decorator_list.iter().for_each(|decorator| self.visit_decorator(decorator));
                def.arguments.iter().for_each(|arguments| self.visit_arguments(arguments));
                for inner in &def.body {
                    // Methods are no variables.
                    if let Stmt::FunctionDef(method) = inner {
                        self.member(&method.name);
                        visitor::walk_stmt(self, inner);
                    } else {
                        self.visit_stmt(inner);
                    }
                }
            }
            Stmt::Import(import) => {
                let own = import.names.iter().filter(|alias| is_own(&alias.name));
                self.own.extend(
                    own.map(|alias| (alias.asname.as_ref().unwrap_or(&alias.name).to_string(), alias.name.to_string())),
                );
                let typing = import.names.iter().filter(|alias| alias.name.as_str() == check::TYPING);
                self.typing.extend(typing.map(|alias| alias.asname.as_ref().unwrap_or(&alias.name).to_string()));
                visitor::walk_stmt(self, stmt);
            }
            Stmt::ImportFrom(import) => {
                // What is built in stays so under the name that an import gives it.
                self.names.extend(import.names.iter().map(|alias| alias.name.to_string()));
                let given = import.names.iter().map(|alias| alias.asname.as_ref().unwrap_or(&alias.name).to_string());
                self.assigned.extend(given);
                let module = import.module.as_ref().map(ToString::to_string).unwrap_or_default();
                self.patterns |= module == "re";
                self.documents |= module == "json";
                for alias in &import.names {
                    let full = format!("{module}.{}", alias.name);
                    if is_own(&full) {
                        self.own.push((alias.asname.as_ref().unwrap_or(&alias.name).to_string(), full));
                    }
                }
                self.imported.extend(import.names.iter().map(|alias| {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name);
                    (name.to_string(), module.clone(), alias.name.to_string())
                }));
                visitor::walk_stmt(self, stmt);
            }
            _ => visitor::walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.ctx == ExprContext::Load => {
                self.patterns |= name.id.as_str() == "re";
                self.documents |= name.id.as_str() == "json";
                self.calls += usize::from(name.id.as_str() == CALL_POLICY);
                self.names.insert(name.id.to_string());
            }
            Expr::Name(name) => self.make(&name.id),
            Expr::Attribute(attribute) => {
                self.attributes.insert(attribute.attr.to_string());
                if attribute.ctx != ExprContext::Load {
                    self.made.insert(attribute.attr.to_string());
                }
                visitor::walk_expr(self, expr);
            }
            Expr::Set(_) | Expr::SetComp(_) => {
                self.sets = true;
                visitor::walk_expr(self, expr);
            }
            Expr::Call(call) => {
                // `getattr(group, "name")` mentions what it names.
                if let (Expr::Name(name), Some(Expr::StringLiteral(attribute))) =
                    (&*call.func, call.arguments.args.get(1))
                    && matches!(name.id.as_str(), "getattr" | "hasattr")
                {
                    self.attributes.insert(attribute.value.to_str().to_owned());
                }
                let function = match &*call.func {
                    Expr::Name(name) => name.id.as_str(),
                    Expr::Attribute(attribute) => attribute.attr.as_str(),
                    _ => "",
                };
                if function == "attrgetter" {
                    for name in call.arguments.args.iter().filter_map(Expr::as_string_literal_expr) {
                        self.attributes.extend(name.value.to_str().split('.').map(str::to_owned));
                    }
                }
                if function == CALL_POLICY
                    && let Some(Expr::StringLiteral(policy)) = call.arguments.find_argument_value("name", 0)
                {
                    self.called.insert(policy.value.to_str().to_owned());
                    self.named_calls += usize::from(call.func.is_name_expr());
                }
                // What `struct` is given becomes a member.
                self.made
                    .extend(call.arguments.keywords.iter().filter_map(|k| k.arg.as_ref()).map(ToString::to_string));
                visitor::walk_expr(self, expr);
            }
            Expr::StringLiteral(text) => self.flow_plan |= text.value.to_str() == "flow_plan",
            _ => visitor::walk_expr(self, expr),
        }
    }

    // Annotations are not evaluated.
    fn visit_annotation(&mut self, _: &'a Expr) {}

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        if let Some(name) = bound(pattern) {
            self.make(name);
        }
        if let Pattern::MatchClass(class) = pattern {
            self.attributes.extend(class.arguments.keywords.iter().map(|keyword| keyword.attr.to_string()));
        }
        visitor::walk_pattern(self, pattern);
    }

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.make(&parameter.name);
    }

    fn visit_alias(&mut self, alias: &'a Alias) {
        let name = alias.asname.as_ref().unwrap_or(&alias.name);
        self.patterns |= alias.name.as_str() == "re";
        self.documents |= alias.name.as_str() == "json";
        self.calls += usize::from(alias.name.as_str() == CALL_POLICY && alias.asname.is_some());
        self.bound.insert(name.split('.').next().unwrap_or_default().to_owned());
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        if let Some(name) = &inner.name {
            self.make(name);
        }
        visitor::walk_except_handler(self, handler);
    }
}
