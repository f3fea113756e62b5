//! A component as an artefact of an OCI registry: a manifest with one layer of `application/wasm`.
//!
//! Owns: names of artefacts, the manifest, tokens of registries. Everything that comes is checked against the digest it was
//! asked for by.

use super::source::{Answer, Fetched, Web, check, digest, is_loopback};
use super::{CliError, Exit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Layers that hold a component, as different tools write them.
const WASM: [&str; 2] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
];
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// `REGISTRY/REPOSITORY[:TAG][@sha256:…]`.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    registry: &'a str,
    repository: &'a str,
    /// A tag, or a digest, which is what counts if there are both.
    reference: &'a str,
}

fn parse(text: &str) -> Option<Name<'_>> {
    let (registry, path) = text.split_once('/')?;
    let (path, digest) = match path.split_once('@') {
        Some((path, digest)) => (path, Some(digest)),
        None => (path, None),
    };
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    let reference = digest.or(tag).unwrap_or("latest");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    let all = [registry, repository, reference];
    let is_well =
        |part: &&str| !part.is_empty() && !part.contains("..") && part.chars().all(is_plain);
    all.iter().all(is_well).then_some(Name {
        registry,
        repository,
        reference,
    })
}

/// Fetches the component of `REGISTRY/REPOSITORY:TAG` or `…@sha256:…`. `WITMQ_REGISTRY_USER` and
/// `WITMQ_REGISTRY_PASSWORD` are shown to a registry that asks who we are.
pub(super) fn pull(text: &str, web: &Web) -> Result<Fetched, CliError> {
    let name = parse(text).ok_or_else(|| {
        CliError::new(Exit::Usage, format!("`oci://{text}` names no artefact"))
            .hint("write oci://REGISTRY/REPOSITORY:TAG, or @sha256:… in place of the tag")
    })?;
    let scheme = if is_loopback(name.registry) {
        "http"
    } else {
        "https"
    };
    let base = format!("{scheme}://{}/v2/{}", name.registry, name.repository);
    let mut registry = Registry { web, token: None };
    let url = format!("{base}/manifests/{}", name.reference);
    let manifest = registry.read(&url, MANIFEST)?;
    if name.reference.starts_with("sha256:") {
        check(&manifest, name.reference, "the manifest")?;
    }
    let layer = layer(&manifest).map_err(|why| {
        CliError::new(Exit::Refused, format!("oci://{text}: {why}"))
            .hint("a plugin is an artefact with one layer of the type application/wasm")
    })?;
    let wasm = registry.read(&format!("{base}/blobs/{layer}"), "*/*")?;
    check(&wasm, &layer, "the layer")?;
    let digest = digest(&manifest);
    Ok(Fetched {
        wasm,
        origin: format!(
            "oci://{}/{}@sha256:{digest}",
            name.registry, name.repository
        ),
    })
}

/// The digest of the one layer that is a component.
fn layer(manifest: &[u8]) -> Result<String, String> {
    let manifest: Value = serde_json::from_slice(manifest)
        .map_err(|error| format!("its manifest is no JSON: {error}"))?;
    let layers = manifest["layers"]
        .as_array()
        .ok_or("its manifest has no layers")?;
    let is_wasm = |layer: &&Value| {
        let media = layer["mediaType"].as_str();
        media.is_some_and(|media| WASM.contains(&media))
    };
    let found: Vec<&Value> = layers.iter().filter(is_wasm).collect();
    match found[..] {
        [layer] => {
            let digest = layer["digest"].as_str().unwrap_or_default();
            let is_plain = digest.starts_with("sha256:")
                && digest.bytes().skip(7).all(|byte| byte.is_ascii_hexdigit());
            is_plain
                .then(|| digest.to_owned())
                .ok_or_else(|| format!("its layer has no sha256 digest, but `{digest}`"))
        }
        [] => Err("none of its layers is a component".to_owned()),
        _ => Err(format!("{} of its layers are components", found.len())),
    }
}

struct Registry<'a> {
    web: &'a Web,
    token: Option<String>,
}

impl Registry<'_> {
    fn read(&mut self, url: &str, accept: &str) -> Result<Vec<u8>, CliError> {
        let refused = |answer: Answer| {
            let exit = if answer.status == 404 {
                Exit::NotFound
            } else {
                Exit::Refused
            };
            CliError::new(
                exit,
                format!("{url}: the registry answers {}", answer.status),
            )
        };
        match self.try_read(url, accept)? {
            Err(Answer {
                status: 401,
                challenge: Some(challenge),
            }) if self.token.is_none() => {
                self.token = Some(self.token(&challenge)?);
                self.try_read(url, accept)?.map_err(refused)
            }
            answer => answer.map_err(refused),
        }
    }

    fn try_read(&self, url: &str, accept: &str) -> Result<Result<Vec<u8>, Answer>, CliError> {
        let mut headers = vec![("Accept", accept)];
        if let Some(token) = &self.token {
            headers.push(("Authorization", token));
        }
        self.web.ask(url, &headers)
    }

    /// What to show the registry: who we are, or a token from where it says.
    fn token(&self, challenge: &str) -> Result<String, CliError> {
        let user = || {
            let user = std::env::var("WITMQ_REGISTRY_USER").ok()?;
            let password = std::env::var("WITMQ_REGISTRY_PASSWORD").ok()?;
            Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{password}"))
            ))
        };
        let Some(terms) = challenge.strip_prefix("Bearer ") else {
            return user().ok_or_else(|| {
                CliError::new(Exit::Refused, "the registry wants to know who asks")
                    .hint("set WITMQ_REGISTRY_USER and WITMQ_REGISTRY_PASSWORD")
            });
        };
        let term = |name: &str| {
            let value = terms.split(name).nth(1)?.strip_prefix("=\"")?;
            value.split('"').next()
        };
        let realm = term("realm").unwrap_or_default();
        let query: Vec<String> = ["service", "scope"]
            .iter()
            .filter_map(|name| Some(format!("{name}={}", super::remote::encode(term(name)?))))
            .collect();
        let user = user();
        let headers: Vec<(&str, &str)> = user
            .iter()
            .map(|user| ("Authorization", user.as_str()))
            .collect();
        let answer = self
            .web
            .bytes(&format!("{realm}?{}", query.join("&")), &headers)?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
        let token = answer["token"]
            .as_str()
            .or_else(|| answer["access_token"].as_str());
        token
            .map(|token| format!("Bearer {token}"))
            .ok_or_else(|| CliError::new(Exit::Refused, format!("{realm} gives no token")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let name = |registry, repository, reference| {
            Some(Name {
                registry,
                repository,
                reference,
            })
        };
        for (text, expected) in [
            ("r.example/a/b:1.0", name("r.example", "a/b", "1.0")),
            ("localhost:5000/a", name("localhost:5000", "a", "latest")),
            ("r/a@sha256:00", name("r", "a", "sha256:00")),
            ("r/a:1@sha256:00", name("r", "a", "sha256:00")),
            ("r", None),
            ("r/", None),
            ("r/../x", None),
            ("r/a b", None),
            ("r/a:", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn one_layer_is_the_component() {
        let layer_of = |layers: &str| layer(format!("{{\"layers\":{layers}}}").as_bytes());
        let wasm =
            |digest: &str| format!(r#"{{"mediaType":"application/wasm","digest":"{digest}"}}"#);
        let other = r#"{"mediaType":"text/plain","digest":"sha256:11"}"#;
        assert_eq!(
            layer_of(&format!("[{other},{}]", wasm("sha256:00"))).unwrap(),
            "sha256:00"
        );
        for (layers, expected) in [
            ("[]".to_owned(), "none"),
            (format!("[{other}]"), "none"),
            (format!("[{0},{0}]", wasm("sha256:00")), "2 of its layers"),
            (format!("[{}]", wasm("../../x")), "no sha256 digest"),
            ("1".to_owned(), "no layers"),
        ] {
            let error = layer_of(&layers).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(layer(b"x").unwrap_err().contains("no JSON"));
    }
}
