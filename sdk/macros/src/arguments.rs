//! What stands between the parentheses of `#[plugin(…)]`.

use proc_macro2::Ident;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, LitInt, LitStr, Result, Token, parenthesized};

/// Hooks and the traits that are them.
const HOOKS: [(&str, &str); 6] = [
    ("authenticate", "Authenticate"),
    ("authorize", "Authorize"),
    ("transform", "Transform"),
    ("sink", "Sink"),
    ("events", "Events"),
    ("timer", "Timer"),
];
const NEEDS: [&str; 3] = ["payload", "properties", "client"];
const LIMITS: [&str; 3] = ["memory_bytes", "deadline_ms", "timeout_ms"];
/// Capabilities: as they are, or with something after a colon.
const CAPABILITIES: [&str; 4] = ["publish:", "http:", "secret:", "clients"];
/// The hook that cannot wait, and capabilities that do.
const INLINE: &str = "authorize";
const WAITING: [&str; 2] = ["http:", "clients"];
/// Characters of a plugin's name.
const NAME_CHARACTERS: usize = 64;

#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) hooks: Vec<Ident>,
    pub(crate) needs: Option<Vec<Ident>>,
    pub(crate) capabilities: Option<Vec<LitStr>>,
    pub(crate) limits: Option<Vec<(Ident, LitInt)>>,
    pub(crate) tests: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
}

/// The trait of a hook.
pub(crate) fn hook_trait(hook: &Ident) -> Ident {
    let name = HOOKS.iter().find(|(name, _)| hook == name);
    Ident::new(name.map_or("Plugin", |(_, of)| of), hook.span())
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Self::default();
        while !input.is_empty() {
            arguments.one(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if arguments.hooks.is_empty() {
            return Err(input.error(format!("name at least one hook: {}", hook_names())));
        }
        arguments.lanes()?;
        Ok(arguments)
    }
}

impl Arguments {
    /// Whether the plugin has this hook.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.hooks.iter().any(|hook| hook == name)
    }

    /// What waits cannot be on the message path; the broker would refuse the component.
    fn lanes(&self) -> Result<()> {
        let on_path = self.hooks.iter().find(|hook| *hook == INLINE);
        let waits = |capability: &&LitStr| {
            let text = capability.value();
            WAITING.iter().any(|waiting| text.starts_with(waiting))
        };
        let waiting = self.capabilities.iter().flatten().find(waits);
        match (on_path, waiting) {
            (Some(hook), Some(capability)) => Err(Error::new(
                capability.span(),
                format!("this waits, and `{hook}` is on the message path: it takes two plugins"),
            )),
            _ => Ok(()),
        }
    }

    fn one(&mut self, input: ParseStream<'_>) -> Result<()> {
        let word: Ident = input.parse()?;
        match word.to_string().as_str() {
            hook if HOOKS.iter().any(|(name, _)| *name == hook) => {
                if self.hooks.contains(&word) {
                    return Err(Error::new(word.span(), "this hook is there twice"));
                }
                self.hooks.push(word);
                Ok(())
            }
            "needs" => {
                let needs = list::<Ident>(input)?;
                for need in &needs {
                    known(need, &NEEDS)?;
                }
                once(&mut self.needs, needs, &word)
            }
            "capabilities" => {
                let capabilities = list::<LitStr>(input)?;
                capabilities.iter().try_for_each(capability)?;
                once(&mut self.capabilities, capabilities, &word)
            }
            "limits" => {
                let limits = list::<Limit>(input)?;
                let limits = limits.into_iter().map(|limit| (limit.name, limit.value));
                once(&mut self.limits, limits.collect(), &word)
            }
            "tests" => once(&mut self.tests, text(input)?, &word),
            "name" => {
                let name = text(input)?;
                plugin_name(&name)?;
                once(&mut self.name, name, &word)
            }
            _ => Err(Error::new(
                word.span(),
                format!(
                    "expected a hook ({}), `needs(…)`, `capabilities(…)`, `limits(…)`, `tests = \"…\"` or `name = \"…\"`",
                    hook_names()
                ),
            )),
        }
    }
}

fn hook_names() -> String {
    HOOKS.map(|(name, _)| format!("`{name}`")).join(", ")
}

fn once<T>(slot: &mut Option<T>, value: T, word: &Ident) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(word.span(), format!("`{word}` is there twice"))),
    }
}

fn list<T: Parse>(input: ParseStream<'_>) -> Result<Vec<T>> {
    let inner;
    parenthesized!(inner in input);
    let items = Punctuated::<T, Token![,]>::parse_terminated(&inner)?;
    Ok(items.into_iter().collect())
}

fn text(input: ParseStream<'_>) -> Result<LitStr> {
    input.parse::<Token![=]>()?;
    input.parse()
}

fn known(word: &Ident, of: &[&str]) -> Result<()> {
    if of.iter().any(|name| word == name) {
        return Ok(());
    }
    let names = of.join("`, `");
    Err(Error::new(
        word.span(),
        format!("expected one of `{names}`"),
    ))
}

/// `memory_bytes = 8_388_608`
struct Limit {
    name: Ident,
    value: LitInt,
}

impl Parse for Limit {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name: Ident = input.parse()?;
        known(&name, &LIMITS)?;
        input.parse::<Token![=]>()?;
        let value: LitInt = input.parse()?;
        if value.base10_parse::<u64>()? == 0 {
            return Err(Error::new(value.span(), "a limit is at least 1"));
        }
        Ok(Self { name, value })
    }
}

fn capability(literal: &LitStr) -> Result<()> {
    let text = literal.value();
    let is_known = CAPABILITIES
        .iter()
        .any(|known| match known.strip_suffix(':') {
            Some(_) => text.len() > known.len() && text.starts_with(known),
            None => text == *known,
        });
    if is_known {
        return Ok(());
    }
    let text = "expected \"publish:FILTER\", \"http:HOST\", \"secret:NAME\" or \"clients\"; all else needs no grant";
    Err(Error::new(literal.span(), text))
}

fn plugin_name(literal: &LitStr) -> Result<()> {
    let name = literal.value();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if begins && name.chars().all(is_plain) && name.len() <= NAME_CHARACTERS {
        return Ok(());
    }
    let text = format!(
        "a name is lower case letters, digits and `-`, a letter first, at most {NAME_CHARACTERS}"
    );
    Err(Error::new(literal.span(), text))
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    fn error(text: &str) -> String {
        match syn::parse_str::<Arguments>(text) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn everything_at_once_is_read() {
        let arguments: Arguments = syn::parse_str(
            r#"transform, events, needs(payload, client), capabilities("publish:a/#", "secret:b"),
               limits(memory_bytes = 8_388_608, deadline_ms = 5), tests = "tests.json", name = "scale","#,
        )
        .unwrap();
        assert_eq!(arguments.hooks, ["transform", "events"]);
        assert_eq!(arguments.needs.unwrap(), ["payload", "client"]);
        assert_eq!(arguments.limits.unwrap()[0].1.base10_digits(), "8388608");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("", "at least one hook"),
            ("needs(payload)", "at least one hook"),
            ("transfrom", "expected a hook (`authenticate`"),
            ("transform, transform", "twice"),
            ("transform, needs(), needs()", "`needs` is there twice"),
            ("transform, needs(topic)", "expected one of `payload`"),
            (
                r#"transform, capabilities("kv")"#,
                "all else needs no grant",
            ),
            (r#"transform, capabilities("publish:")"#, "publish:FILTER"),
            (
                "transform, limits(memory = 1)",
                "expected one of `memory_bytes`",
            ),
            ("transform, limits(deadline_ms = 0)", "at least 1"),
            (
                r#"sink, authorize, capabilities("clients")"#,
                "`authorize` is on the message path",
            ),
            (r#"transform, name = "Scale""#, "lower case"),
            ("transform events", "expected `,`"),
        ] {
            let said = error(text);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
