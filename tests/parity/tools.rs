//! OPA's own tools find nothing to say about the policies that we ship.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::judges::opa_bin;

/// The modules of a folder of `deploy/`, tests left out.
pub(crate) fn modules(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(folder);
    let mut modules = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        let is_module = file.extension().is_some_and(|it| it == "rego");
        if is_module && !file.to_str().unwrap().ends_with("_test.rego") {
            modules.push(file);
        }
    }
    assert!(!modules.is_empty(), "{}", folder.display());
    modules
}

fn test_of(module: &Path) -> PathBuf {
    module.with_file_name(format!(
        "{}_test.rego",
        module.file_stem().unwrap().to_str().unwrap()
    ))
}

/// What OPA says when it is run with these words on these files; fails where OPA does.
fn opa(bin: &Path, words: &[&str], files: &[&Path]) -> String {
    let output = Command::new(bin).args(words).args(files).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{words:?} {files:?}: {said}");
    said
}

/// B13.
#[test]
fn what_we_ship_passes_check_fmt_and_test() {
    let Some(bin) = opa_bin() else { return };
    for folder in ["policy", "policy/samples", "quickstart/policy"] {
        for module in modules(folder) {
            let test = test_of(&module);
            opa(&bin, &["check", "--strict"], &[&module]);
            assert_eq!(opa(&bin, &["fmt", "--list"], &[&module]), "");
            if folder != "quickstart/policy" {
                let said = opa(&bin, &["test"], &[&module, &test]);
                assert!(said.starts_with("PASS: "), "{module:?}: {said}");
                assert_eq!(opa(&bin, &["fmt", "--list"], &[&test]), "");
            }
        }
    }
}

/// B13.
#[test]
fn the_samples_in_the_older_syntax_pass_check_and_fmt() {
    let Some(bin) = opa_bin() else { return };
    for module in modules("policy/samples/v0") {
        opa(&bin, &["check", "--strict", "--v0-compatible"], &[&module]);
        let said = opa(&bin, &["fmt", "--list", "--v0-compatible"], &[&module]);
        assert_eq!(said, "");
    }
}
