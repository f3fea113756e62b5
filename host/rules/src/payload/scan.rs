//! One pass over the text of a JSON object: where its fields are, and whether each is written as it would be written anew.
//!
//! It takes no more than `serde_json` does. Whatever is wrong, and what is rare (names with escapes, halves of surrogates,
//! more than [`DEPTH`] levels), is left to `serde_json`, with its errors.
//! Must not: make values.

/// Lists and objects within the fields. `serde_json` takes more, and is asked beyond.
const DEPTH: usize = 64;
/// Digits that a double keeps exactly, and that are written as they were read.
const DIGITS: usize = 15;
/// Digits that are a whole number of 64 bits, whatever they are.
const WHOLE_DIGITS: usize = 18;

/// What stands somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    True,
    False,
    /// At most 18 digits.
    Whole,
    /// At most 15 digits with a point among them.
    Decimal,
    /// Any other number that `serde_json` reads.
    Number,
    /// A text without escapes.
    Text,
    Escaped,
    /// A list or an object.
    Nested,
}

/// Where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) kind: Kind,
    /// `serde_json` would write its value in the same bytes.
    pub(super) is_plain: bool,
}

/// Calls `found` with the name of each field, without its quotes, and its value. `None`: `serde_json` is to be asked.
pub(super) fn fields(text: &str, mut found: impl FnMut((u32, u32), Span)) -> Option<()> {
    u32::try_from(text.len()).ok()?;
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
    };
    scanner.space();
    scanner.take(b'{')?;
    scanner.space();
    if scanner.peek()? == b'}' {
        scanner.at += 1;
    } else {
        loop {
            let name = scanner.name()?;
            scanner.space();
            scanner.take(b':')?;
            scanner.space();
            found(name, scanner.value(DEPTH)?);
            scanner.space();
            match scanner.next()? {
                b',' => scanner.space(),
                b'}' => break,
                _ => return None,
            };
        }
    }
    scanner.space();
    (scanner.at == text.len()).then_some(())
}

struct Scanner<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

/// Every byte of a word the same.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The highest bit of the first byte that is a quote, a backslash or a control character, if there is one.
fn special(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(all(1)) & !word;
    let control = word.wrapping_sub(all(0x20)) & !word;
    (zero(word ^ all(b'"')) | zero(word ^ all(b'\\')) | control) & all(0x80)
}

impl Scanner<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// Goes on behind space; whether there was some.
    #[inline]
    fn space(&mut self) -> bool {
        let from = self.at;
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.at != from
    }

    /// Positions fit: the length of the text does.
    fn position(at: usize) -> u32 {
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn name(&mut self) -> Option<(u32, u32)> {
        self.take(b'"')?;
        let start = self.at;
        let is_escaped = self.string()?;
        let end = self.at.checked_sub(1)?;
        (!is_escaped).then_some((Self::position(start), Self::position(end)))
    }

    fn value(&mut self, depth: usize) -> Option<Span> {
        let start = self.at;
        let (kind, is_plain) = match self.peek()? {
            b'"' => {
                self.at += 1;
                match self.string()? {
                    true => (Kind::Escaped, false),
                    false => (Kind::Text, true),
                }
            }
            b'-' | b'0'..=b'9' => self.number()?,
            b'{' => (Kind::Nested, self.object(depth.checked_sub(1)?)?),
            b'[' => (Kind::Nested, self.list(depth.checked_sub(1)?)?),
            b't' => (self.word("true", Kind::True)?, true),
            b'f' => (self.word("false", Kind::False)?, true),
            b'n' => (self.word("null", Kind::Null)?, true),
            _ => return None,
        };
        Some(Span {
            start: Self::position(start),
            end: Self::position(self.at),
            kind,
            is_plain,
        })
    }

    fn word(&mut self, word: &str, kind: Kind) -> Option<Kind> {
        let rest = self.bytes.get(self.at..)?;
        self.at += word.len();
        rest.starts_with(word.as_bytes()).then_some(kind)
    }

    /// Behind the quote that opens a text, to behind the one that closes it; whether there are escapes.
    fn string(&mut self) -> Option<bool> {
        let mut is_escaped = false;
        loop {
            while let Some(word) = self.bytes.get(self.at..)?.first_chunk::<8>() {
                let special = special(u64::from_le_bytes(*word));
                // Eight if there is none.
                self.at += usize::try_from(special.trailing_zeros() / 8).unwrap_or(8);
                if special != 0 {
                    break;
                }
            }
            match self.next()? {
                b'"' => return Some(is_escaped),
                b'\\' => {
                    is_escaped = true;
                    self.escape()?;
                }
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
                self.at += 4;
                (!(0xD800..0xE000).contains(&code)).then_some(())
            }
            _ => None,
        }
    }

    /// Goes on behind digits; how many there were.
    fn digits(&mut self) -> usize {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - from
    }

    fn number(&mut self) -> Option<(Kind, bool)> {
        let start = self.at;
        let is_negative = self.peek()? == b'-';
        self.at += usize::from(is_negative);
        let begins_with_zero = self.peek()? == b'0';
        let whole = self.digits();
        if whole == 0 || (whole > 1 && begins_with_zero) {
            return None;
        }
        match self.peek() {
            Some(b'.') => {
                self.at += 1;
                let point = self.at;
                let broken = self.digits();
                let is_exact = broken > 0 && whole + broken <= DIGITS;
                if !is_exact || matches!(self.peek(), Some(b'e' | b'E')) {
                    return self.rare_number(start);
                }
                let broken = self.bytes.get(point..self.at)?;
                let is_zero = broken == b"0";
                // Small ones are written with an exponent.
                let is_large =
                    is_zero || !begins_with_zero || broken.iter().take(3).any(|it| *it != b'0');
                let is_short = is_zero || broken.last() != Some(&b'0');
                Some((Kind::Decimal, is_large && is_short))
            }
            Some(b'e' | b'E') => self.rare_number(start),
            _ if whole > WHOLE_DIGITS || (is_negative && begins_with_zero) => {
                self.rare_number(start)
            }
            _ => Some((Kind::Whole, true)),
        }
    }

    /// Whether it is one, and not too large, is what `serde_json` says.
    #[cold]
    fn rare_number(&mut self, start: usize) -> Option<(Kind, bool)> {
        self.at = start;
        while let Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') = self.peek() {
            self.at += 1;
        }
        let text = self.text.get(start..self.at)?;
        serde_json::from_str::<serde_json::Value>(text).ok()?;
        Some((Kind::Number, false))
    }

    /// Whether it is written as its value would be: without space, names in order and each once.
    fn object(&mut self, depth: usize) -> Option<bool> {
        self.at += 1;
        let mut has_space = self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(!has_space);
        }
        let (mut is_plain, mut last) = (true, None::<&[u8]>);
        let bytes = self.bytes;
        loop {
            let (start, end) = self.name()?;
            let name = bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
            is_plain &= last.is_none_or(|last| last < name);
            last = Some(name);
            has_space |= self.space();
            self.take(b':')?;
            has_space |= self.space();
            is_plain &= self.value(depth)?.is_plain;
            has_space |= self.space();
            match self.next()? {
                b',' => has_space |= self.space(),
                b'}' => return Some(is_plain && !has_space),
                _ => return None,
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<bool> {
        self.at += 1;
        let mut has_space = self.space();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(!has_space);
        }
        let mut is_plain = true;
        loop {
            is_plain &= self.value(depth)?.is_plain;
            has_space |= self.space();
            match self.next()? {
                b',' => has_space |= self.space(),
                b']' => return Some(is_plain && !has_space),
                _ => return None,
            }
        }
    }
}
