//! A WIT package as a list of its items, and whether one holds all of another.
//!
//! Owns: what counts as the same. Types are compared by structure and names, as the component model does; docs and the
//! order of items are not. Must not: know where packages lie.

use crate::Finding;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wit_parser::{
    Function, FunctionKind, Handle, InterfaceId, Resolve, Stability, Type, TypeDefKind, TypeId,
    WorldItem, WorldKey,
};

/// An item: what it is made of, and since when it is there, if it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    form: String,
    since: Option<(u64, u64, u64)>,
}

/// A package.
#[derive(Debug, Clone)]
pub struct Package {
    /// Major, minor, patch.
    pub version: (u64, u64, u64),
    /// By kind and name, as `function host-kv.get`.
    items: BTreeMap<String, Item>,
    /// Functions of interfaces that components export.
    hooks: BTreeSet<String>,
}

impl Package {
    /// The package in the `.wit` files of a folder.
    ///
    /// # Errors
    /// What the parser says.
    pub fn of_folder(folder: &Path) -> Result<Self, String> {
        let mut resolve = Resolve::default();
        let pushed = resolve.push_dir(folder);
        let (id, _) = pushed.map_err(|error| format!("{error:#}"))?;
        Self::of(&resolve, id)
    }

    /// The package in a text.
    ///
    /// # Errors
    /// What the parser says.
    pub fn of_text(text: &str) -> Result<Self, String> {
        let mut resolve = Resolve::default();
        let pushed = resolve.push_str("text.wit", text);
        let id = pushed.map_err(|error| format!("{error:#}"))?;
        Self::of(&resolve, id)
    }

    fn of(resolve: &Resolve, id: wit_parser::PackageId) -> Result<Self, String> {
        let package = resolve.packages.get(id).ok_or("there is no package")?;
        let version = package.name.version.as_ref();
        let version = version.ok_or_else(|| format!("{} has no version", package.name))?;
        let mut this = Self {
            version: (version.major, version.minor, version.patch),
            items: BTreeMap::new(),
            hooks: BTreeSet::new(),
        };
        for (name, id) in &package.interfaces {
            this.interface(resolve, name, *id);
        }
        for (name, id) in &package.worlds {
            let world = &resolve.worlds[*id];
            this.add(format!("world {name}"), String::new(), &world.stability);
            for (word, items) in [("import", &world.imports), ("export", &world.exports)] {
                for (key, item) in items {
                    this.world_item(resolve, &format!("{word} of world {name}"), key, item);
                }
            }
        }
        Ok(this)
    }

    fn add(&mut self, name: String, form: String, stability: &Stability) {
        let since = match stability {
            Stability::Stable { since, .. } => Some((since.major, since.minor, since.patch)),
            _ => None,
        };
        self.items.insert(name, Item { form, since });
    }

    fn interface(&mut self, resolve: &Resolve, name: &str, id: InterfaceId) {
        let interface = &resolve.interfaces[id];
        self.add(
            format!("interface {name}"),
            String::new(),
            &interface.stability,
        );
        for (ty, id) in &interface.types {
            let def = &resolve.types[*id];
            let form = structure(resolve, &def.kind);
            self.add(format!("type {name}.{ty}"), form, &def.stability);
        }
        for (function, def) in &interface.functions {
            let key = format!("function {name}.{function}");
            self.add(key, signature(resolve, def), &def.stability);
        }
    }

    fn world_item(&mut self, resolve: &Resolve, place: &str, key: &WorldKey, item: &WorldItem) {
        let name = match key {
            WorldKey::Name(name) => name.clone(),
            WorldKey::Interface(id) => interface_name(resolve, *id),
        };
        let (form, stability) = match item {
            WorldItem::Interface { id, stability, .. } => {
                if place.starts_with("export") {
                    let functions = resolve.interfaces[*id].functions.keys();
                    let functions = functions.map(|function| format!("function {name}.{function}"));
                    self.hooks.extend(functions);
                }
                (interface_name(resolve, *id), stability)
            }
            WorldItem::Function(def) => (signature(resolve, def), &def.stability),
            WorldItem::Type { id, .. } => {
                let def = &resolve.types[*id];
                (structure(resolve, &def.kind), &def.stability)
            }
        };
        self.add(format!("{name}, {place}"), form, stability);
    }

    /// What of a released package is no longer there, or was added to it in a way that its components cannot bear.
    #[must_use]
    pub fn missing(&self, released: &Self) -> Vec<Finding> {
        let version = text(released.version);
        let finding = |text: String| Finding::of("wit", text);
        let mut found = Vec::new();
        for (name, item) in &released.items {
            match self.items.get(name) {
                None => found.push(finding(format!(
                    "{name} is not there any more: components made for {version} have it. Put it back; what may go, goes with 2.0"
                ))),
                Some(now) if now.form != item.form => found.push(finding(format!(
                    "{name} is `{}`, and was `{}` in {version}: components made for it would not load. Put it back, and add something new beside it",
                    now.form, item.form
                ))),
                Some(_) => {}
            }
        }
        let is_known = |hook: &&String| released.items.contains_key(*hook);
        let of_released = |hook: &&String| {
            let interface = hook.trim_start_matches("function ").split('.').next();
            interface.is_some_and(|name| released.items.contains_key(&format!("interface {name}")))
        };
        let grown = (self.hooks.iter()).filter(|hook| of_released(hook) && !is_known(hook));
        found.extend(grown.map(|hook| {
            finding(format!(
                "{hook} is new in an interface that components made for {version} export, and they do not have it. Put it into an interface of its own"
            ))
        }));
        found
    }

    /// What is new since a release and does not say so.
    #[must_use]
    pub fn unmarked(&self, newest: &Self) -> Vec<Finding> {
        let is_whole = |name: &str| {
            // What is within something new is new with it.
            let within = name
                .split_once(' ')
                .and_then(|(_, rest)| rest.split_once('.'));
            within.is_none_or(|(interface, _)| {
                newest.items.contains_key(&format!("interface {interface}"))
            })
        };
        let new = self.items.iter().filter(|(name, item)| {
            !newest.items.contains_key(*name)
                && is_whole(name)
                && !name.contains(" of world ")
                && item.since.is_none_or(|since| since <= newest.version)
        });
        let newest = text(newest.version);
        let finding = |(name, _): (&String, _)| {
            let text = format!(
                "{name} is new since {newest}: mark it with `@since(version = X)`, X being the version of the package, which is to be higher than {newest}"
            );
            Finding::of("wit", text)
        };
        new.map(finding).collect()
    }
}

fn text((major, minor, patch): (u64, u64, u64)) -> String {
    format!("{major}.{minor}.{patch}")
}

fn interface_name(resolve: &Resolve, id: InterfaceId) -> String {
    resolve.interfaces[id].name.clone().unwrap_or_default()
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let word = match function.kind {
        FunctionKind::AsyncFreestanding
        | FunctionKind::AsyncMethod(_)
        | FunctionKind::AsyncStatic(_) => "async func",
        _ => "func",
    };
    let params = function.params.iter();
    let params: Vec<String> = params
        .map(|param| format!("{}: {}", param.name, ty(resolve, &param.ty)))
        .collect();
    let result = function.result.as_ref();
    let result = result.map_or_else(String::new, |result| format!(" -> {}", ty(resolve, result)));
    format!("{word}({}){result}", params.join(", "))
}

/// A type where it is used: by its name, or its form if it has none.
fn ty(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => named(resolve, *id),
        primitive => format!("{primitive:?}").to_lowercase(),
    }
}

fn named(resolve: &Resolve, id: TypeId) -> String {
    let def = &resolve.types[id];
    match (&def.kind, &def.name) {
        (TypeDefKind::Type(same), _) => ty(resolve, same),
        (_, Some(name)) => match def.owner {
            wit_parser::TypeOwner::Interface(id) => {
                format!("{}.{name}", interface_name(resolve, id))
            }
            _ => name.clone(),
        },
        (kind, None) => structure(resolve, kind),
    }
}

fn structure(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let of = |one: &Type| ty(resolve, one);
    let maybe = |one: &Option<Type>| one.as_ref().map_or_else(|| "_".to_owned(), of);
    let fields = |fields: Vec<String>| format!("{} {{ {} }}", kind.as_str(), fields.join(", "));
    let around = |parts: &[String]| format!("{}<{}>", kind.as_str(), parts.join(", "));
    match kind {
        TypeDefKind::Record(record) => {
            let each = record.fields.iter();
            fields(
                each.map(|field| format!("{}: {}", field.name, of(&field.ty)))
                    .collect(),
            )
        }
        TypeDefKind::Variant(variant) => {
            let each = variant.cases.iter();
            fields(
                each.map(|case| match &case.ty {
                    Some(ty) => format!("{}({})", case.name, of(ty)),
                    None => case.name.clone(),
                })
                .collect(),
            )
        }
        TypeDefKind::Enum(one) => fields(one.cases.iter().map(|case| case.name.clone()).collect()),
        TypeDefKind::Flags(one) => fields(one.flags.iter().map(|flag| flag.name.clone()).collect()),
        TypeDefKind::Tuple(tuple) => around(&tuple.types.iter().map(of).collect::<Vec<_>>()),
        TypeDefKind::Option(one) | TypeDefKind::List(one) => around(&[of(one)]),
        TypeDefKind::Result(result) => around(&[maybe(&result.ok), maybe(&result.err)]),
        TypeDefKind::Map(key, value) => around(&[of(key), of(value)]),
        TypeDefKind::FixedLengthList(one, length) => around(&[of(one), length.to_string()]),
        TypeDefKind::Future(one) | TypeDefKind::Stream(one) => around(&[maybe(one)]),
        TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id)) => around(&[named(resolve, *id)]),
        TypeDefKind::Type(same) => of(same),
        TypeDefKind::Resource | TypeDefKind::Unknown => kind.as_str().to_owned(),
    }
}
