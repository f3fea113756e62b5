//! A URL with places that each message fills.
//!
//! Owns: that what a message brings stays in its place, whatever it is: it is percent-encoded, and what a server might
//! read as a way to another path is refused. Must not: touch scheme, host and port.

use witmq_sdk::Message;

/// Bytes of a filled URL.
const URL_BYTES: usize = 8192;

/// A URL with places.
#[derive(Debug)]
pub(crate) struct Template {
    /// Scheme, host and port.
    origin: String,
    path: Vec<Part>,
    query: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Topic,
    /// From 1.
    Level(usize),
    Client,
    User,
}

impl Template {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let begin = url.find("://").map_or(0, |at| at + 3);
        let length = url[begin..].find(['/', '?']);
        let (origin, rest) = url.split_at(length.map_or(url.len(), |length| begin + length));
        let (path, query) = match rest.find('?') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let parse = |text| parts(text).map_err(|text| format!("url: {text}"));
        let template = Self {
            origin: origin.to_owned(),
            path: parse(path)?,
            query: parse(query)?,
        };
        match path.split('/').find(|part| is_dots(part)) {
            Some(dots) => Err(format!("url: `{dots}` is a way to another path")),
            None => Ok(template),
        }
    }

    /// The URL of a message.
    ///
    /// # Errors
    /// The message does not fit, in words for the dead letter.
    pub(crate) fn fill(&self, message: &Message) -> Result<String, String> {
        let mut url = self.origin.clone();
        for part in &self.path {
            let value = part.value(message)?;
            if !matches!(part, Part::Text(_)) {
                if value.is_empty() {
                    return Err(format!("{} is empty, and the URL needs it", part.name()));
                }
                if value.split(['/', '\\']).any(is_dots) {
                    return Err(format!("{} is a way to another path", part.name()));
                }
            }
            part.write(value, &mut url);
        }
        let path = url.get(self.origin.len()..).unwrap_or_default();
        if path.split('/').any(is_dots) {
            return Err("the URL would be a way to another path".to_owned());
        }
        for part in &self.query {
            part.write(part.value(message)?, &mut url);
        }
        match url.len() {
            ..=URL_BYTES => Ok(url),
            bytes => Err(format!(
                "the URL would have {bytes} bytes, at most {URL_BYTES}"
            )),
        }
    }
}

impl Part {
    fn value<'v>(&'v self, message: &'v Message) -> Result<&'v str, String> {
        Ok(match self {
            Self::Text(text) => text,
            Self::Topic => &message.topic,
            Self::Level(number) => {
                let level = message.topic.split('/').nth(number.saturating_sub(1));
                level.ok_or_else(|| format!("the topic has no level {number}"))?
            }
            Self::Client => &message.client_id,
            Self::User => &message.username,
        })
    }

    fn write(&self, value: &str, url: &mut String) {
        match self {
            Self::Text(text) => url.push_str(text),
            _ => encode(value, url),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Text(text) => format!("`{text}`"),
            Self::Topic => "the topic".to_owned(),
            Self::Level(number) => format!("level {number} of the topic"),
            Self::Client => "the client id".to_owned(),
            Self::User => "the user name".to_owned(),
        }
    }
}

/// `.` and `..`, encoded or not: a server may take them for a way up.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

/// Everything but unreserved characters (RFC 3986 section 2.3) as `%XX`.
fn encode(value: &str, url: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn parts(mut text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    while let Some(open) = text.find('{') {
        let (before, rest) = text.split_at(open);
        let Some((name, after)) = rest[1..].split_once('}') else {
            return Err("a `{` has no `}`".to_owned());
        };
        parts.push(Part::Text(before.to_owned()));
        parts.push(match (name, name.parse::<usize>()) {
            ("topic", _) => Part::Topic,
            ("client", _) => Part::Client,
            ("user", _) => Part::User,
            (_, Ok(number @ 1..)) => Part::Level(number),
            _ => {
                return Err(format!(
                    "`{{{name}}}` is no name here: there are {{topic}}, {{1}} and so on, {{client}} and {{user}}"
                ));
            }
        });
        text = after;
    }
    if text.contains('}') {
        return Err("a `}` has no `{`".to_owned());
    }
    parts.push(Part::Text(text.to_owned()));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(url: &str, topic: &str) -> Result<String, String> {
        let message = Message {
            client_id: "c 1".to_owned(),
            ..Message::new(topic, "")
        };
        Template::parse(url).unwrap().fill(&message)
    }

    #[test]
    fn places_are_filled_and_encoded() {
        for (url, topic, expected) in [
            ("https://a", "t", "https://a"),
            ("https://a/b", "t", "https://a/b"),
            ("https://a/{topic}", "x/y z", "https://a/x%2Fy%20z"),
            (
                "https://a/{2}/{1}?c={client}&u={user}",
                "x/y",
                "https://a/y/x?c=c%201&u=",
            ),
            (
                "https://a?t={topic}",
                "a&b=c#d",
                "https://a?t=a%26b%3Dc%23d",
            ),
            ("https://a/{topic}", "\u{e9}", "https://a/%C3%A9"),
            ("https://a/{1}.json", "..a", "https://a/..a.json"),
            ("https://a/?t={topic}", "../x", "https://a/?t=..%2Fx"),
        ] {
            assert_eq!(filled(url, topic).unwrap(), expected, "{url} {topic}");
        }
    }

    #[test]
    fn no_topic_leads_elsewhere() {
        for topic in [
            "..",
            ".",
            "../admin",
            "a/../b",
            "a/..",
            "..\\x",
            "@evil",
            "evil:80/x",
            "/evil/x",
            "//evil",
            "%2e%2e",
            "x?y#z",
            "\u{ff0e}\u{ff0e}/",
            "a\u{7}b\rc\nd",
        ] {
            let Ok(url) = filled("https://a:1/in/{topic}/end?q", topic) else {
                continue;
            };
            let rest = url.strip_prefix("https://a:1/in/").unwrap();
            let rest = rest.strip_suffix("/end?q").unwrap();
            let is_one = rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b));
            assert!(is_one && !rest.is_empty(), "{topic}: {url}");
            assert!(!is_dots(rest) && rest != "%2e%2e", "{topic}: {url}");
        }
        for (url, topic, expected) in [
            ("https://a/{topic}", "..", "another path"),
            ("https://a/{topic}", "x/./y", "another path"),
            ("https://a/{1}{2}", "./.", "another path"),
            ("https://a/{1}", "%2e%2E", "another path"),
            ("https://a/{2}", "x", "no level 2"),
            ("https://a/{1}", "/x", "level 1 of the topic is empty"),
            ("https://a/{user}", "x", "the user name is empty"),
        ] {
            match filled(url, topic) {
                Ok(url) => assert!(expected.is_empty(), "{url}"),
                Err(said) => assert!(!expected.is_empty() && said.contains(expected), "{said}"),
            }
        }
    }

    #[test]
    fn a_url_is_bounded() {
        let origin = "https://a/".len();
        let topic = |bytes: usize| "x".repeat(bytes - origin);
        assert!(filled("https://a/{topic}", &topic(URL_BYTES)).is_ok());
        let said = filled("https://a/{topic}", &topic(URL_BYTES + 1)).unwrap_err();
        assert!(said.contains("8193 bytes"), "{said}");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (url, expected) in [
            ("https://a/{topics}", "{topics}"),
            ("https://a/{0}", "{0}"),
            ("https://a/{topic", "no `}`"),
            ("https://a/topic}", "no `{`"),
            ("https://a/x/../y", "another path"),
            ("https://a/%2E%2e/y", "another path"),
        ] {
            let said = Template::parse(url).unwrap_err();
            assert!(said.contains(expected), "{url}: {said}");
        }
    }
}
