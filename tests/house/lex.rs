//! Just enough of Rust's grammar to see which paths a file names: comments and literals are left
//! out, `use` trees are unfolded, and `super` is resolved by the modules around it.

/// A word or a mark of the source, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
    }
}

/// A path as the source writes it, such as `crate::key::Record`, with what stands around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// The inline modules around it, outermost first.
    pub(crate) inside: Vec<String>,
}

/// Splits a source into words, `::`, and single marks; comments and literals are left out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1, out: Vec::new() };
    while lexer.step() {}
    lexer.out
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    out: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        let taken = match first {
            _ if self.rest.starts_with("//") => self.rest.find('\n').unwrap_or(self.rest.len()),
            _ if self.rest.starts_with("/*") => block_comment(self.rest),
            '"' => string(self.rest),
            '\'' => char_or_lifetime(self.rest),
            _ if first.is_alphanumeric() || first == '_' => self.word(),
            _ if self.rest.starts_with("::") => self.push(2),
            _ if first.is_whitespace() => first.len_utf8(),
            _ => self.push(first.len_utf8()),
        };
        self.line += self.rest[..taken].matches('\n').count();
        self.rest = &self.rest[taken..];
        true
    }

    fn word(&mut self) -> usize {
        let end = word_end(self.rest);
        let word = &self.rest[..end];
        let after = &self.rest[end..];
        let hashes = after.len() - after.trim_start_matches('#').len();
        match word {
            "r" | "br" | "cr" if after[hashes..].starts_with('"') => {
                end + raw_string(after, hashes)
            }
            "b" | "c" if after.starts_with('"') => end + string(after),
            "b" if after.starts_with('\'') => end + char_or_lifetime(after),
            // A raw identifier is the word that it escapes.
            "r" if hashes == 1 && word_end(&after[1..]) > 0 => end + 1,
            _ => self.push(end),
        }
    }

    fn push(&mut self, bytes: usize) -> usize {
        self.out.push(Token { text: self.rest[..bytes].to_owned(), line: self.line });
        bytes
    }
}

fn word_end(text: &str) -> usize {
    text.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(text.len())
}

/// Bytes of a `/* … */`, which may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Bytes of a `"…"` with escapes.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of a `#"…"#` whose letter `r` has been taken.
fn raw_string(text: &str, hashes: usize) -> usize {
    let end = format!("\"{}", "#".repeat(hashes));
    let body = hashes + 1;
    text[body..].find(&end).map_or(text.len(), |at| body + at + end.len())
}

/// Bytes of a `'x'`, or of the mark alone where a lifetime begins.
fn char_or_lifetime(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(text.len(), |at| 3 + at + 1),
        Some((at, character)) if text[at + character.len_utf8()..].starts_with('\'') => {
            at + character.len_utf8() + 1
        }
        _ => 1,
    }
}

/// Every path that the tokens name; `use a::{b, c::d}` gives `a::b` and `a::c::d`.
pub(crate) fn paths(tokens: &[Token]) -> Vec<NamedPath> {
    let mut walk = Walk { tokens, at: 0, depth: 0, modules: Vec::new(), out: Vec::new() };
    while walk.at < tokens.len() {
        walk.step();
    }
    walk.out
}

struct Walk<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    /// The inline modules that are open, each with the depth of its brace.
    modules: Vec<(String, usize)>,
    out: Vec<NamedPath>,
}

impl Walk<'_> {
    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text.as_str())
    }

    fn step(&mut self) {
        match self.text(0) {
            "mod" if self.text(2) == "{" => {
                self.depth += 1;
                self.modules.push((self.text(1).to_owned(), self.depth));
                self.at += 3;
            }
            "{" => {
                self.depth += 1;
                self.at += 1;
            }
            "}" => {
                self.modules.pop_if(|(_, depth)| *depth == self.depth);
                self.depth = self.depth.saturating_sub(1);
                self.at += 1;
            }
            // A method or a field is not the first word of a path.
            "." => self.at += 2,
            "::" => self.at += 1,
            _ if self.tokens[self.at].is_word() => self.path(&mut Vec::new()),
            _ => self.at += 1,
        }
    }

    /// Reads a path, or the rest of one, from the word at hand.
    fn path(&mut self, prefix: &mut Vec<String>) {
        let (kept, line) = (prefix.len(), self.tokens[self.at].line);
        prefix.push(self.text(0).to_owned());
        self.at += 1;
        while self.text(0) == "::" && self.tokens.get(self.at + 1).is_some_and(Token::is_word) {
            prefix.push(self.text(1).to_owned());
            self.at += 2;
        }
        if self.text(0) == "::" && self.text(1) == "{" {
            self.at += 2;
            self.group(prefix);
        } else {
            let inside = self.modules.iter().map(|(name, _)| name.clone()).collect();
            self.out.push(NamedPath { segments: prefix.clone(), line, inside });
        }
        prefix.truncate(kept);
    }

    /// Reads the branches of a `use` tree up to its closing brace.
    fn group(&mut self, prefix: &mut Vec<String>) {
        while self.at < self.tokens.len() && self.text(0) != "}" {
            match self.text(0) {
                // The name that follows is this file's own.
                "as" => self.at += 2,
                _ if self.tokens[self.at].is_word() => self.path(prefix),
                _ => self.at += 1,
            }
        }
        self.at += 1;
    }
}
