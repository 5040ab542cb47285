//! The mutants of a file.
//!
//! Patterns, types, constants, statics, macros and code for tests are not changed: either they
//! cannot ask at run time which mutant is on, or no test would notice.

use std::ops::Range;

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, Lit, Pat, ReturnType, Signature, Stmt, Type, UnOp};

use crate::place::{Constant, Form, Found, Place};

/// Methods each of which is replaced by its partner.
const METHODS: &[(&str, &str)] = &[
    ("is_some", "is_none"),
    ("is_ok", "is_err"),
    ("is_some_and", "is_none_or"),
    ("any", "all"),
    ("min", "max"),
    ("first", "last"),
    ("insert", "remove"),
    ("saturating_add", "saturating_sub"),
    ("wrapping_add", "wrapping_sub"),
    ("checked_add", "checked_sub"),
    ("wrapping_shl", "wrapping_shr"),
    ("fetch_or", "fetch_and"),
    ("fetch_add", "fetch_sub"),
];

/// Methods that are left out, so that the value is used unfiltered.
const FILTERS: &[&str] = &["filter", "skip_while", "take_while"];

/// Returns the places of a file with this text that can be changed.
pub fn find(text: &str) -> Result<Found> {
    let file = syn::parse_file(text).context("the file cannot be parsed")?;
    let mut finder = Finder {
        text,
        function: String::new(),
        found: Found::default(),
    };
    finder.visit_file(&file);
    Ok(finder.found)
}

struct Finder<'a> {
    text: &'a str,
    function: String,
    found: Found,
}

impl Finder<'_> {
    fn of(&self, node: &impl Spanned) -> &str {
        &self.text[node.span().byte_range()]
    }

    fn add(&mut self, range: Range<usize>, form: Form, operator: &'static str, other: String) {
        let alternative = (operator, other);
        let same = |place: &&mut Place| place.range == range && place.form == form;
        if let Some(place) = self.found.places.iter_mut().find(same) {
            if !place
                .alternatives
                .iter()
                .any(|(_, text)| *text == alternative.1)
            {
                place.alternatives.push(alternative);
            }
            return;
        }
        self.found.places.push(Place {
            range,
            form,
            alternatives: vec![alternative],
            function: self.function.clone(),
        });
    }

    /// Adds an expression by which `node` can be replaced.
    fn instead(&mut self, node: &impl Spanned, operator: &'static str, other: impl Into<String>) {
        let range = node.span().byte_range();
        self.add(range, Form::Expression, operator, other.into());
    }

    fn function(&mut self, signature: &Signature, body: &Block) {
        if signature.ident == "fmt" {
            return;
        }
        let outer = std::mem::replace(&mut self.function, signature.ident.to_string());
        if let Some(word) = signature.constness {
            let Range { start, mut end } = word.span().byte_range();
            end += self.text[end..].len() - self.text[end..].trim_start().len();
            self.found.constants.push(Constant {
                name: self.function.clone(),
                word: start..end,
                body: body.span().byte_range(),
            });
        }
        let entry = body.brace_token.span.open().byte_range().end;
        if !body.stmts.is_empty() {
            for other in early_returns(&signature.output) {
                let other = format!("return {other}").trim_end().to_string() + ";";
                self.add(entry..entry, Form::Entry, "return at once", other);
            }
        }
        self.visit_block(body);
        self.function = outer;
    }

    /// Adds the replacements of a condition, and visits its parts.
    fn condition(&mut self, condition: &Expr) {
        if has_let(condition) {
            let end = condition.span().byte_range().end;
            self.add(end..end, Form::Condition, "condition", String::new());
            self.chain(condition);
            return;
        }
        for other in ["true", "false"] {
            self.instead(condition, "condition", other);
        }
        self.visit_expr(condition);
    }

    /// Visits a condition that contains `let`. Each other operand can be left out.
    fn chain(&mut self, condition: &Expr) {
        match condition {
            Expr::Binary(and) if has_let(condition) => {
                self.chain(&and.left);
                self.chain(&and.right);
            }
            Expr::Let(binding) => self.visit_expr(&binding.expr),
            member => {
                self.instead(member, "condition", "true");
                self.visit_expr(member);
            }
        }
    }
}

/// Returns the values that a function with that result can return at once.
fn early_returns(output: &ReturnType) -> &'static [&'static str] {
    let ReturnType::Type(_, output) = output else {
        return &[""];
    };
    let Type::Path(path) = &**output else {
        return &[];
    };
    let Some(last) = path.path.segments.last() else {
        return &[];
    };
    match last.ident.to_string().as_str() {
        "bool" => &["true", "false"],
        "Option" => &["None"],
        "Result" => match &last.arguments {
            syn::PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
                Some(syn::GenericArgument::Type(Type::Tuple(unit))) if unit.elems.is_empty() => {
                    &["Ok(())"]
                }
                Some(syn::GenericArgument::Type(Type::Path(path)))
                    if path.path.is_ident("bool") =>
                {
                    &["Ok(true)", "Ok(false)"]
                }
                _ => &[],
            },
            _ => &[],
        },
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" => &["0", "1"],
        _ => &[],
    }
}

fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// Returns whether the pattern of an arm matches every value.
fn takes_all(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) => true,
        Pat::Ident(name) => {
            let first = name.ident.to_string().chars().next();
            name.subpat.is_none() && first.is_some_and(char::is_lowercase)
        }
        _ => false,
    }
}

/// Returns whether an item is compiled for tests only, or under another condition.
fn is_conditional(attributes: &[syn::Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("cfg"))
}

/// Returns the operators by which an operator can be replaced.
fn operators(operator: &BinOp) -> &'static [&'static str] {
    match operator {
        BinOp::Lt(_) => &["<=", ">="],
        BinOp::Le(_) => &["<", ">"],
        BinOp::Gt(_) => &[">=", "<="],
        BinOp::Ge(_) => &[">", "<"],
        BinOp::Eq(_) => &["!="],
        BinOp::Ne(_) => &["=="],
        BinOp::And(_) => &["||"],
        BinOp::Or(_) => &["&&"],
        BinOp::Add(_) => &["-"],
        BinOp::Sub(_) | BinOp::Mul(_) => &["+"],
        BinOp::Div(_) => &["*"],
        BinOp::Rem(_) => &["/"],
        BinOp::BitAnd(_) | BinOp::BitXor(_) => &["|"],
        BinOp::BitOr(_) => &["&"],
        BinOp::Shl(_) => &[">>"],
        BinOp::Shr(_) => &["<<"],
        BinOp::AddAssign(_) => &["-="],
        BinOp::SubAssign(_) => &["+="],
        BinOp::BitAndAssign(_) => &["|="],
        BinOp::BitOrAssign(_) => &["&="],
        BinOp::ShlAssign(_) => &[">>="],
        BinOp::ShrAssign(_) => &["<<="],
        _ => &[],
    }
}

/// Returns whether a test could notice that a statement of that kind is gone.
fn is_removable(expression: &Expr) -> bool {
    match expression {
        Expr::Call(_) | Expr::MethodCall(_) | Expr::Assign(_) => true,
        Expr::Try(inner) => matches!(*inner.expr, Expr::Call(_) | Expr::MethodCall(_)),
        Expr::Binary(binary) => matches!(
            binary.op,
            BinOp::AddAssign(_)
                | BinOp::SubAssign(_)
                | BinOp::BitAndAssign(_)
                | BinOp::BitOrAssign(_)
        ),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        if !is_conditional(&node.attrs) {
            self.function(&node.sig, &node.block);
        }
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        if !is_conditional(&node.attrs) {
            self.function(&node.sig, &node.block);
        }
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if let Some(body) = &node.default {
            self.function(&node.sig, body);
        }
    }

    fn visit_item_impl(&mut self, node: &'ast syn::ItemImpl) {
        if !is_conditional(&node.attrs) {
            visit::visit_item_impl(self, node);
        }
    }

    fn visit_item_mod(&mut self, node: &'ast syn::ItemMod) {
        if is_conditional(&node.attrs) {
            return;
        }
        match &node.content {
            Some(_) => visit::visit_item_mod(self, node),
            None => self.found.modules.push(node.ident.to_string()),
        }
    }

    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
    fn visit_path(&mut self, _: &'ast syn::Path) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}

    fn visit_angle_bracketed_generic_arguments(
        &mut self,
        _: &'ast syn::AngleBracketedGenericArguments,
    ) {
    }

    fn visit_expr_repeat(&mut self, node: &'ast syn::ExprRepeat) {
        self.visit_expr(&node.expr);
    }

    fn visit_stmt(&mut self, node: &'ast Stmt) {
        if let Stmt::Expr(expression, Some(end)) = node
            && is_removable(expression)
        {
            let range = expression.span().byte_range().start..end.span.byte_range().end;
            self.add(range.clone(), Form::Statement, "statement", String::new());
            if let Expr::Try(inner) = expression {
                let ignored = format!("let _ = {};", self.of(&inner.expr));
                self.add(range, Form::Statement, "error ignored", ignored);
            }
        }
        visit::visit_stmt(self, node);
    }

    fn visit_expr_if(&mut self, node: &'ast syn::ExprIf) {
        self.condition(&node.cond);
        self.visit_block(&node.then_branch);
        if let Some((_, otherwise)) = &node.else_branch {
            self.visit_expr(otherwise);
        }
    }

    fn visit_expr_while(&mut self, node: &'ast syn::ExprWhile) {
        if has_let(&node.cond) {
            self.condition(&node.cond);
        } else {
            self.instead(&node.cond, "condition", "false");
            self.visit_expr(&node.cond);
        }
        self.visit_block(&node.body);
    }

    fn visit_expr_match(&mut self, node: &'ast syn::ExprMatch) {
        self.visit_expr(&node.expr);
        let last = node
            .arms
            .last()
            .filter(|arm| arm.guard.is_none() && takes_all(&arm.pat));
        for arm in &node.arms {
            if is_conditional(&arm.attrs) {
                continue;
            }
            if let Some((_, guard)) = &arm.guard {
                self.condition(guard);
            } else if let Some(last) = last
                && self.of(&arm.body) != self.of(&last.body)
            {
                let end = arm.pat.span().byte_range().end;
                self.add(end..end, Form::Guard, "arm", String::new());
            }
            self.visit_expr(&arm.body);
        }
    }

    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        let (left, right) = (self.of(&node.left), self.of(&node.right));
        let mut others: Vec<_> = operators(&node.op)
            .iter()
            .map(|other| ("operator", format!("{left} {other} {right}")))
            .collect();
        if matches!(node.op, BinOp::And(_) | BinOp::Or(_)) {
            others.push(("operand", left.to_string()));
            others.push(("operand", right.to_string()));
        }
        for (operator, other) in others {
            self.instead(node, operator, other);
        }
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        if matches!(node.op, UnOp::Not(_) | UnOp::Neg(_)) {
            let other = self.of(&node.expr).to_string();
            self.instead(node, "operator", other);
        }
        visit::visit_expr_unary(self, node);
    }

    fn visit_expr_lit(&mut self, node: &'ast syn::ExprLit) {
        match &node.lit {
            Lit::Bool(value) => self.instead(node, "constant", (!value.value).to_string()),
            Lit::Int(value) => {
                let next = value
                    .base10_parse::<u64>()
                    .ok()
                    .and_then(|n| n.checked_add(1));
                if let Some(next) = next {
                    self.instead(node, "constant", format!("{next}{}", value.suffix()));
                }
            }
            _ => {}
        }
    }

    fn visit_expr_method_call(&mut self, node: &'ast syn::ExprMethodCall) {
        let name = node.method.to_string();
        let receiver = self.of(&node.receiver).to_string();
        if FILTERS.contains(&name.as_str()) {
            self.instead(node, "filter", receiver);
        } else if name == "is_empty" {
            let other = format!("!{}", self.of(node));
            self.instead(node, "operator", other);
        } else {
            let other = METHODS.iter().find_map(|(one, other)| {
                (name == *one)
                    .then_some(other)
                    .or((name == *other).then_some(one))
            });
            if let Some(other) = other {
                let whole = node.span().byte_range();
                let method = node.method.span().byte_range();
                let before = &self.text[whole.start..method.start];
                let behind = &self.text[method.end..whole.end];
                let changed = format!("{before}{other}{behind}");
                self.instead(node, "method", changed);
            }
        }
        visit::visit_expr_method_call(self, node);
    }

    fn visit_expr_macro(&mut self, node: &'ast syn::ExprMacro) {
        if node.mac.path.is_ident("matches") {
            let other = format!("!{}", self.of(node));
            self.instead(node, "operator", other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place;

    /// Returns what the lines of a file can be changed to.
    fn changes(text: &str) -> Vec<String> {
        let found = find(text).unwrap();
        let places = found.places.iter();
        let mutants = places.flat_map(|place| place::mutants("file.rs", text, place));
        let mut changes: Vec<String> = mutants.map(|mutant| mutant.mutated).collect();
        changes.sort();
        changes
    }

    #[test]
    fn conditions_and_their_members() {
        let text = "fn f() {\nif a < b && !c { g(); }\n}";
        assert_eq!(
            changes(text),
            [
                "fn f() {return;",
                "if !c { g(); }",
                "if a < b && !c { }",
                "if a < b && c { g(); }",
                "if a < b { g(); }",
                "if a < b || !c { g(); }",
                "if a <= b && !c { g(); }",
                "if a >= b && !c { g(); }",
                "if false { g(); }",
                "if true { g(); }",
            ]
        );
    }

    #[test]
    fn a_binding_in_a_condition_stays() {
        let text = "fn f() -> S {\nif let Some(a) = b && c { d } else { e }\n}";
        assert_eq!(
            changes(text),
            [
                "if let Some(a) = b && c && false { d } else { e }",
                "if let Some(a) = b && true { d } else { e }",
            ]
        );
    }

    #[test]
    fn arms_go_only_where_another_takes_what_they_took() {
        let text = "fn f() -> S {\nmatch a {\nA => b,\nB if c => d,\n_ => e,\n}\n}";
        assert_eq!(
            changes(text),
            ["A if false => b,", "B if false => d,", "B if true => d,"]
        );
        assert!(changes("fn f() -> S {\nmatch a {\nA => b,\nB => d,\n}\n}").is_empty());
        assert!(changes("fn f() -> S {\nmatch a {\nA => e,\n_ => e,\n}\n}").is_empty());
    }

    #[test]
    fn errors_are_ignored_and_results_made_up() {
        let text = "fn f() -> Result<()> {\ng()?;\nOk(())\n}";
        assert_eq!(
            changes(text),
            ["", "fn f() -> Result<()> {return Ok(());", "let _ = g();"]
        );
    }

    #[test]
    fn numbers_and_methods() {
        assert_eq!(
            changes("fn f() -> S {\na.min(7_u8)\n}"),
            ["a.max(7_u8)", "a.min(8u8)"]
        );
        assert_eq!(changes("fn f() -> S {\na.filter(b)\n}"), ["a"]);
    }

    #[test]
    fn what_is_known_at_build_time_or_for_tests_stays() {
        for text in [
            "const A: u32 = 1 + 2;",
            "static A: u32 = 1 + 2;",
            "enum E { A = 1 + 2 }",
            "fn f() -> [u8; 4 + 1] {\nb\n}",
            "fn f() -> S {\nlet a: [u8; 4 + 1] = b;\na\n}",
            "#[cfg(test)]\nfn f() -> bool {\na < b\n}",
            "#[cfg(test)]\nmod tests { fn f() -> bool { a < b } }",
            "impl Debug for A { fn fmt(&self) -> bool { a < b } }",
        ] {
            assert!(changes(text).is_empty(), "{text}: {:?}", changes(text));
        }
    }

    #[test]
    fn a_constant_function_is_told_with_its_body() {
        let text = "pub const fn f() -> u32 { 1 }\nmod a;";
        let found = find(text).unwrap();
        assert_eq!(found.modules, ["a"]);
        let constant = &found.constants[0];
        assert_eq!(&text[constant.word.clone()], "const ");
        assert_eq!(&text[constant.body.clone()], "{ 1 }");
    }
}
