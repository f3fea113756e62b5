//! `[[rewrite]]` and `[[auto_subscribe]]`: checked where they are read, so that an error names its line.

use serde::Deserialize;
use witmq_broker::auto_subscribe::AutoSubscribe;
use witmq_broker::rewrite::{self, Pattern, Target};
use witmq_proto::packet::{QoS, RetainHandling, SubscribeOptions};

/// One `[[rewrite]]`: topics that a client names mean others.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "RewriteKeys")]
pub(crate) struct Rewrite(pub(crate) rewrite::Rewrite);

/// Its keys as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RewriteKeys {
    action: Action,
    from: From,
    to: To,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Publish,
    Subscribe,
    All,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct From(Pattern);

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct To(Target);

impl TryFrom<String> for From {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let pattern = Pattern::parse(&text);
        pattern
            .map(Self)
            .map_err(|error| format!("`{text}`: {error}"))
    }
}

impl TryFrom<String> for To {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let target = Target::parse(&text);
        target
            .map(Self)
            .map_err(|error| format!("`{text}`: {error}"))
    }
}

impl TryFrom<RewriteKeys> for Rewrite {
    type Error = rewrite::RewriteError;

    fn try_from(keys: RewriteKeys) -> Result<Self, Self::Error> {
        let action = match keys.action {
            Action::Publish => rewrite::Action::Publish,
            Action::Subscribe => rewrite::Action::Subscribe,
            Action::All => rewrite::Action::All,
        };
        rewrite::Rewrite::new(action, keys.from.0, keys.to.0).map(Self)
    }
}

/// One `[[auto_subscribe]]`: a subscription made for every client.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "AutoSubscribeKeys")]
pub(crate) struct AutoSubscription(pub(crate) AutoSubscribe);

/// Its keys as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutoSubscribeKeys {
    filter: String,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    no_local: bool,
    #[serde(default)]
    retain_as_published: bool,
    #[serde(default)]
    retain_handling: Handling,
}

/// When retained messages are sent.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Handling {
    #[default]
    Send,
    SendIfNew,
    DoNotSend,
}

impl TryFrom<AutoSubscribeKeys> for AutoSubscription {
    type Error = String;

    fn try_from(keys: AutoSubscribeKeys) -> Result<Self, String> {
        let qos = QoS::from_bits(keys.qos);
        let qos = qos.ok_or_else(|| format!("`qos` is 0, 1 or 2, not {}", keys.qos))?;
        let is_shared = keys.filter.starts_with("$share/");
        if is_shared && keys.no_local {
            return Err("a shared subscription cannot be `no_local` [MQTT-3.8.3-4]".to_owned());
        }
        let options = SubscribeOptions {
            qos,
            no_local: keys.no_local,
            retain_as_published: keys.retain_as_published,
            retain_handling: match keys.retain_handling {
                Handling::Send => RetainHandling::Send,
                Handling::SendIfNew => RetainHandling::SendIfNew,
                Handling::DoNotSend => RetainHandling::DoNotSend,
            },
        };
        let made = AutoSubscribe::new(&keys.filter, options);
        made.map(Self)
            .map_err(|error| format!("filter `{}`: {error}", keys.filter))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::ConfigError;

    fn read(text: &str) -> Result<Config, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::parse("witmq.toml", text, &error))
    }

    #[test]
    fn rules_about_topics_are_read() {
        let text = "[[rewrite]]\naction = \"all\"\nfrom = \"old/{a}/#\"\nto = \"new/{a}/{client}\"\n\
                    [[auto_subscribe]]\nfilter = \"inbox/{client}\"\nqos = 1\nno_local = true\n\
                    retain_as_published = true\nretain_handling = \"send-if-new\"\n";
        let config = read(text).expect("reads");
        assert_eq!((config.rewrites.len(), config.auto_subscribe.len()), (1, 1));
    }

    #[test]
    fn a_rule_that_cannot_be_names_file_line_and_column() {
        let rewrite = |from: &str, to: &str| {
            format!("shards = 1\n[[rewrite]]\naction = \"all\"\nfrom = \"{from}\"\nto = \"{to}\"\n")
        };
        for (text, place, words) in [
            (
                rewrite("old/{a", "b"),
                ":4:8: ",
                "a name takes a whole level",
            ),
            (
                rewrite("old/#/x", "b"),
                ":4:8: ",
                "`#` must be the whole last level",
            ),
            (rewrite("old", "b/+"), ":5:6: ", "wildcard"),
            (rewrite("old", "$SYS/b"), ":5:6: ", "the broker's own"),
            (
                rewrite("old/{a}", "b/{c}"),
                ":2:1: ",
                "`{c}` in `to` is no name of `from`, which has a",
            ),
            (
                "[[rewrite]]\naction = \"pub\"\n".to_owned(),
                ":2:10: ",
                "expected one of `publish`, `subscribe`, `all`",
            ),
            (
                "[[auto_subscribe]]\nfilter = \"a/{clint}\"\n".to_owned(),
                ":1:1: ",
                "`{clint}` is no name here",
            ),
            (
                "[[auto_subscribe]]\nfilter = \"a\"\nqos = 3\n".to_owned(),
                ":1:1: ",
                "`qos` is 0, 1 or 2",
            ),
            (
                "[[auto_subscribe]]\nfilter = \"$share/g/a\"\nno_local = true\n".to_owned(),
                ":1:1: ",
                "MQTT-3.8.3-4",
            ),
        ] {
            let error = read(&text).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("witmq.toml{place}")), "{error}");
            assert!(error.contains(words), "{error}");
        }
    }
}
