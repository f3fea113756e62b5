//! `'…'.format(x, …)`.

use super::Call;
use crate::expression::{Done, Fail, Value, cut, whole};

/// Width of a conversion, at most.
const WIDTH: usize = 1024;

/// One `%…` of a format.
struct Conversion {
    is_left: bool,
    has_zeros: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

impl Conversion {
    /// What is behind a `%`, and the rest.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let flags = text.trim_start_matches(['-', '0', '+']);
        let (flags, rest) = text.split_at(text.len() - flags.len());
        let digits = |text: &str| -> Option<(Option<usize>, usize)> {
            let end = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number = text.get(..end)?;
            if number.is_empty() {
                return Some((None, 0));
            }
            Some((Some(number.parse().ok().filter(|n| *n <= WIDTH)?), end))
        };
        let (width, end) = digits(rest)?;
        let rest = rest.get(end..)?;
        let (precision, rest) = match rest.strip_prefix('.') {
            None => (None, rest),
            Some(rest) => {
                let (precision, end) = digits(rest)?;
                (Some(precision.unwrap_or(0)), rest.get(end..)?)
            }
        };
        let letter = rest.chars().next()?;
        let conversion = Self {
            is_left: flags.contains('-'),
            has_zeros: flags.contains('0'),
            width: width.unwrap_or(0),
            precision,
            letter,
        };
        Some((conversion, rest.get(letter.len_utf8()..)?))
    }

    fn write(&self, value: &Value<'_>) -> Option<String> {
        let number = value.number();
        let whole = match value {
            Value::Int(number) => Some(*number),
            _ => number.and_then(|number| whole(number.trunc())),
        };
        Some(match (self.letter, self.precision) {
            ('s', None) => value
                .to_text()
                .or_else(|| value.to_json().ok().map(|json| json.to_string()))?,
            ('s', Some(most)) => value.to_text()?.chars().take(most).collect(),
            ('d', _) => whole?.to_string(),
            ('f', precision) => format!("{:.*}", precision.unwrap_or(6), number?),
            ('e', precision) => format!("{:.*e}", precision.unwrap_or(6), number?),
            ('x', _) => format!("{:x}", whole?),
            ('X', _) => format!("{:X}", whole?),
            ('b', _) => format!("{:b}", whole?),
            ('o', _) => format!("{:o}", whole?),
            _ => return None,
        })
    }

    fn pad(&self, text: String) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        if self.is_left {
            return text + &" ".repeat(missing);
        }
        match (self.has_zeros, text.strip_prefix('-')) {
            (true, Some(digits)) => format!("-{}{digits}", "0".repeat(missing)),
            (true, None) => "0".repeat(missing) + &text,
            (false, _) => " ".repeat(missing) + &text,
        }
    }
}

/// `'…'.format(x, …)`.
pub(super) fn format<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let mut rest = c.text(0)?;
    let mut out = String::new();
    let mut arguments = c.arguments.iter().skip(1);
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(behind) = behind.strip_prefix('%') {
            out.push('%');
            rest = behind;
            continue;
        }
        let Some((conversion, behind)) = Conversion::parse(behind) else {
            let text = format!(
                "`%{}` is no conversion; `%%` is a percent sign",
                cut(behind)
            );
            return Err(Fail::wrong(text));
        };
        let Some(value) = arguments.next() else {
            let text = format!("there is no argument for `%{}`", conversion.letter);
            return Err(Fail::wrong(text));
        };
        value.weigh(c.budget)?;
        let Some(written) = conversion.write(value) else {
            let text = format!("`%{}` cannot write {}", conversion.letter, value.shown());
            return Err(Fail::wrong(text));
        };
        let written = conversion.pad(written);
        c.budget.read(written.len())?;
        c.budget.fits(out.len() + written.len())?;
        out.push_str(&written);
        rest = behind;
    }
    out.push_str(rest);
    if arguments.next().is_some() {
        return Err(Fail::wrong("there are more arguments than `%` conversions"));
    }
    c.built(out)
}
