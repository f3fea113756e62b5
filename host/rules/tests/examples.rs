//! Every chain of `examples/chains` passes its own tests.

use std::fs;
use std::path::Path;

#[test]
fn every_example_is_fine_and_tests_itself() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/chains");
    let mut checked = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("[[test]]"), "{name} has no test");
        if let Err(error) = witmq_rules::check(&name, &text) {
            panic!("{error}");
        }
        checked.push(name);
    }
    for name in ["deadband.toml", "hysteresis.toml"] {
        assert!(checked.iter().any(|known| known == name), "{name} is gone");
    }
}
