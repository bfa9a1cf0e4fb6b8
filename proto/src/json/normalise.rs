//! fastjson's dialect rewritten as strict JSON.
//!
//! | in | out |
//! |---|---|
//! | `{0:"a",name:1}` | `{"0":"a","name":1}` |
//! | `{'a':'b'}` | `{"a":"b"}` |
//! | `{{"topic":"T"}:5}` | `{"{\"topic\":\"T\"}":5}` |
//! | `{"a":null,"b":1,}` | `{"b":1}` |
//!
//! `{"$ref":…}` (the same Java object met twice) is an ordinary object here. Text that is no JSON even then is passed
//! on as far as it goes and refused by the strict parser afterwards.

/// Deeper nesting is refused; no body of RocketMQ's has more than ten levels.
const MAX_DEPTH: usize = 64;

/// `None`: not even fastjson's dialect.
pub(crate) fn normalise(text: &str) -> Option<String> {
    let mut rewriter =
        Rewriter { rest: text, out: String::with_capacity(text.len() + text.len() / 8), depth: 0, in_key: false };
    rewriter.value()?;
    rewriter.skip_space();
    rewriter.rest.is_empty().then_some(rewriter.out)
}

struct Rewriter<'a> {
    rest: &'a str,
    out: String,
    depth: usize,
    /// Inside an object that is a key. Such keys do not nest: each level would double the escapes, and the output its
    /// size.
    in_key: bool,
}

impl<'a> Rewriter<'a> {
    fn value(&mut self) -> Option<()> {
        self.skip_space();
        match self.peek()? {
            '{' => self.nested(Self::object),
            '[' => self.nested(Self::array),
            quote @ ('"' | '\'') => self.string(quote),
            _ => self.bare_value(),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Option<()>) -> Option<()> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        inner(self)?;
        self.depth -= 1;
        Some(())
    }

    fn object(&mut self) -> Option<()> {
        self.take('{')?;
        self.out.push('{');
        let open = self.out.len();
        while !self.closes('}')? {
            let before = self.out.len();
            if before > open {
                self.out.push(',');
            }
            self.key()?;
            self.skip_space();
            self.take(':')?;
            self.out.push(':');
            let value = self.out.len();
            self.value()?;
            if &self.out[value..] == "null" {
                self.out.truncate(before);
            }
        }
        self.out.push('}');
        Some(())
    }

    fn array(&mut self) -> Option<()> {
        self.take('[')?;
        self.out.push('[');
        let open = self.out.len();
        while !self.closes(']')? {
            if self.out.len() > open {
                self.out.push(',');
            }
            self.value()?;
        }
        self.out.push(']');
        Some(())
    }

    /// Skips the comma between items; true when the object or array ends here.
    fn closes(&mut self, close: char) -> Option<bool> {
        self.skip_space();
        while self.take(',').is_some() {
            self.skip_space();
        }
        self.peek()?;
        Some(self.take(close).is_some())
    }

    fn key(&mut self) -> Option<()> {
        match self.peek()? {
            quote @ ('"' | '\'') => self.string(quote),
            '{' if !self.in_key => self.object_key(),
            _ => {
                let word = self.word();
                if word.is_empty() {
                    return None;
                }
                self.out.push('"');
                self.out.push_str(word);
                self.out.push('"');
                Some(())
            }
        }
    }

    fn object_key(&mut self) -> Option<()> {
        let start = self.out.len();
        self.in_key = true;
        self.nested(Self::object)?;
        self.in_key = false;
        let object = self.out.split_off(start);
        self.out.push('"');
        for char in object.chars() {
            if matches!(char, '"' | '\\') {
                self.out.push('\\');
            }
            self.out.push(char);
        }
        self.out.push('"');
        Some(())
    }

    fn string(&mut self, quote: char) -> Option<()> {
        self.take(quote)?;
        self.out.push('"');
        let mut chars = self.rest.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                _ if char == quote => {
                    self.out.push('"');
                    self.rest = &self.rest[at + char.len_utf8()..];
                    return Some(());
                }
                '\\' => match chars.next()?.1 {
                    '\'' => self.out.push('\''),
                    escaped => self.out.extend(['\\', escaped]),
                },
                '"' => self.out.push_str("\\\""),
                control if (control as u32) < 0x20 => self.out.push_str(&format!("\\u{:04x}", control as u32)),
                plain => self.out.push(plain),
            }
        }
        None
    }

    /// A number, `true`, `false`, `null`; anything else is for the strict parser to refuse.
    fn bare_value(&mut self) -> Option<()> {
        let word = self.word();
        self.out.push_str(word);
        (!word.is_empty()).then_some(())
    }

    fn word(&mut self) -> &'a str {
        let ends = |it: char| !(it.is_ascii_alphanumeric() || "_$.+-@%".contains(it));
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self, char: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(char)?;
        Some(())
    }
}
