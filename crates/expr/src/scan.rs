//! What an expression mentions: names, attributes, text. Decides which values are handed over at all.

use std::collections::HashSet;

use ruff_python_ast::{
    Alias, ExceptHandler, Expr, ExprContext, Parameter, Stmt,
    visitor::{self, Visitor},
};

/// What a program mentions.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    /// Names that are read.
    pub(crate) names: HashSet<String>,
    /// Names that are read where the interpreter cannot be suspended: in functions within the expression.
    pub(crate) inner: HashSet<String>,
    /// Names that the expression binds itself.
    pub(crate) bound: HashSet<String>,
    /// Attributes that are read, written or called.
    pub(crate) attributes: HashSet<String>,
    /// Whether a text is exactly `flow_plan`.
    pub(crate) flow_plan: bool,
    depth: usize,
}

impl Mentions {
    pub(crate) fn of(body: &[Stmt]) -> Self {
        let mut mentions = Self::default();
        mentions.visit_body(body);
        mentions
    }

    /// Whether a name is read that the expression does not bind itself.
    pub(crate) fn reads(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn inside(&mut self, walk: impl FnOnce(&mut Self)) {
        self.depth += 1;
        walk(self);
        self.depth -= 1;
    }
}

impl<'a> Visitor<'a> for Mentions {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(def) => {
                self.bound.insert(def.name.to_string());
                self.inside(|this| visitor::walk_stmt(this, stmt));
            }
            Stmt::ClassDef(def) => {
                self.bound.insert(def.name.to_string());
                self.inside(|this| visitor::walk_stmt(this, stmt));
            }
            _ => visitor::walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.ctx == ExprContext::Load => {
                self.names.insert(name.id.to_string());
                if self.depth > 0 {
                    self.inner.insert(name.id.to_string());
                }
            }
            Expr::Name(name) => {
                self.bound.insert(name.id.to_string());
            }
            Expr::Attribute(attribute) => {
                self.attributes.insert(attribute.attr.to_string());
                visitor::walk_expr(self, expr);
            }
            Expr::StringLiteral(text) => self.flow_plan |= text.value.to_str() == "flow_plan",
            Expr::Lambda(_) => self.inside(|this| visitor::walk_expr(this, expr)),
            _ => visitor::walk_expr(self, expr),
        }
    }

    // Annotations are not evaluated.
    fn visit_annotation(&mut self, _: &'a Expr) {}

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.bound.insert(parameter.name.to_string());
    }

    fn visit_alias(&mut self, alias: &'a Alias) {
        let name = alias.asname.as_ref().unwrap_or(&alias.name);
        self.bound.insert(name.split('.').next().unwrap_or_default().to_owned());
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        self.bound.extend(inner.name.as_ref().map(ToString::to_string));
        visitor::walk_except_handler(self, handler);
    }
}
