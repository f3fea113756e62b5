//! `decode` of a chain that says one: its first step, which no `[[step]]` names.

use crate::payload::Format;
use crate::run::{Around, Next};

#[derive(Debug)]
pub(crate) struct Decode {
    pub(crate) format: Format,
}

impl Decode {
    pub(super) fn run(&self, around: &mut Around<'_, '_>) -> Result<Next, String> {
        let name = self.format.name();
        match around.work.decode() {
            Ok(()) => {
                around.note(|| name.to_owned());
                Ok(Next::Go)
            }
            Err(error) => {
                around.work.give_up_format(); // should the chain continue
                Err(format!("decode: {error}"))
            }
        }
    }
}
