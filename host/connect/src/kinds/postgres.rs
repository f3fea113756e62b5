//! `postgres`: rows by a statement of the operator's, a batch in one transaction.
//!
//! Owns: the statement with its values, and which errors are the message's fault. Values are parameters, never text of
//! the statement.

mod secure;
mod value;

use super::Means;
use super::tls::{bare, dial, trust};
use crate::keys::Keys;
use crate::outlet::{Answer, Later, Outlet, Trouble};
use crate::place::SinkError;
use crate::record::Record;
use crate::secret::Text;
use futures_util::future::join_all;
use rustls::pki_types::ServerName;
use secure::Secure;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, Error, NoTls, Statement};
use value::{Param, Path};

/// Parameters of a statement.
const VALUES: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    host: String,
    port: u16,
    user: String,
    database: String,
    password: Option<Text>,
    is_tls: bool,
    ca: Option<Text>,
    insert: String,
    values: Vec<Path>,
}

impl Settings {
    pub(super) fn parse(keys: &mut Keys<'_>) -> Result<Self, SinkError> {
        let (host, _) = keys.needed("host", "\"db.example.com\"")?;
        let port = keys.number("port", 5432, 1..=65_535)?;
        let (user, _) = keys.needed("user", "\"witmq\"")?;
        let (database, _) = keys.needed("database", "\"history\"")?;
        let (insert, _) = keys.needed("insert", "\"INSERT INTO readings (topic) VALUES ($1)\"")?;
        let mut values = Vec::new();
        for (text, at) in keys.texts("values")? {
            let path = text.parse();
            values.push(path.map_err(|error: String| keys.error_at(at, error))?);
        }
        if values.len() > VALUES {
            return Err(keys.error(format!("`values` has at most {VALUES} entries")));
        }
        let (is_tls, ca) = (keys.flag("tls", false)?, keys.private("ca")?);
        if ca.is_some() && !is_tls {
            let error = keys.error("`ca` is for TLS, which is off");
            return Err(error.hint("write `tls = true`"));
        }
        Ok(Self {
            host,
            port: u16::try_from(port).unwrap_or(5432),
            user,
            database,
            password: keys.private("password")?,
            is_tls,
            ca,
            insert,
            values,
        })
    }

    fn place(&self) -> String {
        format!(
            "{}@{}:{}/{}",
            self.user, self.host, self.port, self.database
        )
    }
}

/// A connection with the statement.
struct Link {
    client: Client,
    statement: Statement,
}

pub(crate) struct Postgres {
    settings: Settings,
    means: Means,
    /// Taken while it is used: what was given up in its middle is not used again.
    link: Option<Link>,
}

impl Postgres {
    pub(super) fn new(settings: Settings, means: &Means) -> Self {
        Self {
            settings,
            means: means.clone(),
            link: None,
        }
    }

    async fn connect(&self) -> Result<Link, String> {
        let settings = &self.settings;
        let reveal = |text: &Text| text.reveal(&self.means.secrets);
        let mut config = Config::new();
        config.user(&settings.user).dbname(&settings.database);
        config.application_name("witmq");
        if let Some(password) = &settings.password {
            config.password(reveal(password)?);
        }
        let stream = dial(&settings.host, settings.port, None).await?;
        let client = match settings.is_tls {
            false => {
                config.ssl_mode(SslMode::Disable);
                let (client, connection) =
                    config.connect_raw(stream, NoTls).await.map_err(words)?;
                tokio::spawn(async move { drop(connection.await) });
                client
            }
            true => {
                let ca = settings.ca.as_ref().map(reveal).transpose()?;
                let host = &settings.host;
                let name = ServerName::try_from(bare(host).to_owned())
                    .map_err(|_| format!("`{host}` is no name of a server"))?;
                let secure = Secure::new(trust(ca.as_deref())?, name);
                config.ssl_mode(SslMode::Require);
                let (client, connection) =
                    config.connect_raw(stream, secure).await.map_err(words)?;
                tokio::spawn(async move { drop(connection.await) });
                client
            }
        };
        let statement = client.prepare(&settings.insert).await.map_err(words)?;
        let (wanted, have) = (statement.params().len(), settings.values.len());
        if wanted != have {
            return Err(format!(
                "`insert` takes {wanted} parameters, and `values` has {have}"
            ));
        }
        if let Some(kind) = statement
            .params()
            .iter()
            .find(|kind| !value::is_known(kind))
        {
            return Err(format!(
                "`insert` takes a {kind}, which is not known here: write `$N::text::{kind}`"
            ));
        }
        Ok(Link { client, statement })
    }

    /// All of them, or none.
    async fn insert(&self, link: &Link, rows: &[Vec<Param>]) -> Result<(), Error> {
        link.client.batch_execute("BEGIN").await?;
        // Sent together: the round trip is paid once.
        let inserts = rows.iter().map(|row| async move {
            let row: Vec<_> = row.iter().map(Param::as_sql).collect();
            link.client.execute(&link.statement, &row).await
        });
        let failed = join_all(inserts).await.into_iter().find_map(Result::err);
        match failed {
            None => link.client.batch_execute("COMMIT").await,
            Some(error) => {
                link.client.batch_execute("ROLLBACK").await?;
                Err(error)
            }
        }
    }
}

/// What the server says, not only that it says something.
fn words(error: Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    }
}

/// Class 22: the data is wrong; class 23: a constraint forbids it; 44000: a view does; class 54: it is too much of it
/// (for an index, say); P0001: a trigger does. Everything else may come right.
fn is_refusal(error: &Error) -> bool {
    error.code().is_some_and(|code| refuses(code.code()))
}

fn refuses(code: &str) -> bool {
    ["22", "23", "44000", "54", "P0001"]
        .iter()
        .any(|start| code.starts_with(start))
}

impl Outlet for Postgres {
    fn check(&mut self) -> Later<'_, Result<String, String>> {
        Box::pin(async {
            let link = self.connect().await?;
            let kinds = link.statement.params().iter();
            let kinds: Vec<_> = kinds.map(ToString::to_string).collect();
            let place = self.settings.place();
            Ok(format!(
                "{place} knows the statement, which takes ({})",
                kinds.join(", ")
            ))
        })
    }

    fn send<'a>(&'a mut self, batch: &'a [Record]) -> Later<'a, Result<Vec<Answer>, Trouble>> {
        Box::pin(async move {
            let link = self.link.take().filter(|link| !link.client.is_closed());
            let link = match link {
                Some(link) => link,
                None => self.connect().await.map_err(Trouble::away)?,
            };
            let (mut rows, mut answers) = (Vec::new(), Vec::new());
            for record in batch {
                match value::row(record, &self.settings.values, link.statement.params()) {
                    Ok(row) => {
                        rows.push(row);
                        answers.push(Answer::Done);
                    }
                    Err(text) => answers.push(Answer::Never(text)),
                }
            }
            let inserted = match rows.is_empty() {
                true => Ok(()),
                false => self.insert(&link, &rows).await,
            };
            let is_closed = link.client.is_closed();
            self.link = Some(link).filter(|_| !is_closed);
            match inserted {
                Ok(()) => Ok(answers),
                Err(error) if is_refusal(&error) && !is_closed => {
                    Err(Trouble::Refused(words(error)))
                }
                Err(error) => {
                    self.link = None; // a table that was changed wants another statement
                    Err(Trouble::away(words(error)))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::refuses;
    use crate::settings::Settings;

    #[test]
    fn what_a_retry_can_mend_is_no_refusal() {
        for (code, is_refused) in [
            ("22003", true),
            ("23505", true),
            ("P0001", true),
            ("54000", true),  // too long for an index
            ("40001", false), // serialization
            ("57P01", false), // shutdown
            ("53300", false), // too many connections
            ("42P01", false), // no such table: for the operator
        ] {
            assert_eq!(refuses(code), is_refused, "{code}");
        }
    }

    #[test]
    fn what_is_missing_and_what_is_no_value_is_said() {
        let base = "kind = \"postgres\"\nhost = \"h\"\nuser = \"u\"\ndatabase = \"d\"\n";
        let error = |rest: &str| {
            let text = format!("{base}{rest}");
            Settings::parse("p.toml", &text)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(
            error("insert = \"I\"\nvalues = [\"payload.a.b\", \"topic\"]"),
            None
        );
        let said = error("insert = \"I\"\nca = { secret = \"s\" }");
        assert!(
            said.as_deref()
                .is_some_and(|said| said.contains("`ca` is for TLS, which is off")),
            "{said:?}"
        );
        assert_eq!(
            error("").as_deref(),
            Some("p.toml:1:1: `insert` is missing")
        );
        let said = error("insert = \"I\"\nvalues = [\"topic\", \"paylod.c\"]");
        assert!(
            said.as_deref()
                .is_some_and(|said| said.starts_with("p.toml:6:20: `paylod.c` is no value")),
            "{said:?}"
        );
    }
}
