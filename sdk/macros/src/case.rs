//! `rename_all` as serde does it.

/// A rule of `rename_all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Case {
    #[default]
    None,
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "lowercase" => Self::Lower,
            "UPPERCASE" => Self::Upper,
            "PascalCase" => Self::Pascal,
            "camelCase" => Self::Camel,
            "snake_case" => Self::Snake,
            "SCREAMING_SNAKE_CASE" => Self::ScreamingSnake,
            "kebab-case" => Self::Kebab,
            "SCREAMING-KEBAB-CASE" => Self::ScreamingKebab,
            _ => return None,
        })
    }

    /// A name in `snake_case`.
    pub(crate) fn field(self, name: &str) -> String {
        match self {
            Self::None | Self::Lower | Self::Snake => name.to_owned(),
            Self::Upper | Self::ScreamingSnake => name.to_ascii_uppercase(),
            Self::Pascal => name.split('_').map(capital).collect(),
            Self::Camel => first_small(&Self::Pascal.field(name)),
            Self::Kebab => name.replace('_', "-"),
            Self::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// A name in `PascalCase`.
    pub(crate) fn variant(self, name: &str) -> String {
        match self {
            Self::None | Self::Pascal => name.to_owned(),
            Self::Lower => name.to_ascii_lowercase(),
            Self::Upper => name.to_ascii_uppercase(),
            Self::Camel => first_small(name),
            Self::Snake => {
                let mut snake = String::new();
                for (at, c) in name.char_indices() {
                    if at > 0 && c.is_uppercase() {
                        snake.push('_');
                    }
                    snake.push(c.to_ascii_lowercase());
                }
                snake
            }
            Self::ScreamingSnake => Self::Snake.variant(name).to_ascii_uppercase(),
            Self::Kebab => Self::Snake.variant(name).replace('_', "-"),
            Self::ScreamingKebab => Self::ScreamingSnake.variant(name).replace('_', "-"),
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + letters.as_str()
    })
}

fn first_small(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_lowercase().to_string() + letters.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::Case;

    #[test]
    fn every_rule_names_fields_and_variants_as_serde_does() {
        for (rule, field, variant) in [
            ("lowercase", "max_size", "tooold"),
            ("UPPERCASE", "MAX_SIZE", "TOOOLD"),
            ("PascalCase", "MaxSize", "TooOld"),
            ("camelCase", "maxSize", "tooOld"),
            ("snake_case", "max_size", "too_old"),
            ("SCREAMING_SNAKE_CASE", "MAX_SIZE", "TOO_OLD"),
            ("kebab-case", "max-size", "too-old"),
            ("SCREAMING-KEBAB-CASE", "MAX-SIZE", "TOO-OLD"),
        ] {
            let case = Case::parse(rule).unwrap();
            assert_eq!(case.field("max_size"), field, "{rule}");
            assert_eq!(case.variant("TooOld"), variant, "{rule}");
        }
        assert_eq!(Case::parse("Title Case"), None);
    }
}
