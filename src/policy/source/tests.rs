use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// Names of what `entry` holds, and what is wrong with it.
fn read(base: &TempDir, entry: &str, wanted: Wanted) -> (Vec<String>, Vec<String>) {
    let mut sources = Sources::default();
    let errors = sources.read(base.path(), Path::new(entry), wanted);
    let errors = errors.iter().map(ToString::to_string).collect();
    (sources.files.into_keys().collect(), errors)
}

#[test]
fn a_directory_gives_its_modules_and_data() {
    let base = folder(&[
        ("policy/b.rego", ""),
        ("policy/a.rego", ""),
        ("policy/a_test.rego", ""),
        ("policy/roles.yaml", ""),
        ("policy/more.yml", ""),
        ("policy/README.md", ""),
        ("policy/.hidden.rego", ""),
        ("data.json", ""),
    ]);
    let (names, errors) = read(&base, "policy/", Wanted::Modules);
    assert_eq!(
        names,
        [
            "policy/a.rego",
            "policy/b.rego",
            "policy/more.yml",
            "policy/roles.yaml"
        ]
    );
    assert!(errors.is_empty(), "{errors:?}");
    let (names, errors) = read(&base, "policy", Wanted::Data);
    assert_eq!(names, ["policy/more.yml", "policy/roles.yaml"]);
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn a_file_is_named_as_configured() {
    let base = folder(&[("policy/a.rego", "package p"), ("d.json", "{}")]);
    assert_eq!(
        read(&base, "policy/a.rego", Wanted::Modules).0,
        ["policy/a.rego"]
    );
    assert_eq!(read(&base, "d.json", Wanted::Data).0, ["d.json"]);
    let absolute = base.path().join("policy/a.rego").display().to_string();
    assert_eq!(read(&base, &absolute, Wanted::Modules).0, [absolute]);
}

#[test]
fn what_does_not_belong_there_is_named() {
    let base = folder(&[
        ("empty/README.md", ""),
        ("nested/a.rego", ""),
        ("nested/deny/b.rego", ""),
        ("a.txt", ""),
        ("d.json", ""),
        ("a.rego", ""),
    ]);
    for (entry, wanted, expected) in [
        ("missing.rego", Wanted::Modules, "read `missing.rego`"),
        ("missing/", Wanted::Modules, "read `missing/`"),
        ("empty", Wanted::Modules, "`empty` holds no .rego file"),
        (
            "nested",
            Wanted::Modules,
            "`nested/deny` is a directory inside a policy directory",
        ),
        ("a.txt", Wanted::Modules, "`a.txt` is not a .rego file"),
        ("d.json", Wanted::Modules, "`d.json` is not a .rego file"),
        (
            "a.rego",
            Wanted::Data,
            "`a.rego` is neither a .json nor a .yaml file",
        ),
    ] {
        let (_, errors) = read(&base, entry, wanted);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(expected), "{errors:?}");
    }
}

#[test]
fn what_is_not_plain_text_of_bounded_length_is_not_read() {
    let base = folder(&[]);
    fs::write(base.path().join("binary.rego"), [0xff, 0xfe]).unwrap();
    let long = File::create(base.path().join("long.json")).unwrap();
    long.set_len(MAX_FILE_BYTES + 1).unwrap();
    assert_eq!(
        read(&base, "binary.rego", Wanted::Modules).1,
        ["read `binary.rego`"]
    );
    assert_eq!(
        read(&base, "long.json", Wanted::Data).1,
        ["read `long.json`"]
    );
    symlink("/dev/null", base.path().join("device.rego")).unwrap();
    assert_eq!(
        read(&base, "device.rego", Wanted::Modules).1,
        ["read `device.rego`"]
    );
}

/// The layout of a mounted ConfigMap: files are links through `..data`, which is a link itself.
#[test]
fn a_mounted_config_map_is_read_through_its_links() {
    let base = folder(&[
        ("mount/..2026_01/a.rego", "package p"),
        ("mount/..2026_01/d.json", "{}"),
    ]);
    let mount = base.path().join("mount");
    symlink("..2026_01", mount.join("..data")).unwrap();
    symlink("..data/a.rego", mount.join("a.rego")).unwrap();
    symlink("..data/d.json", mount.join("d.json")).unwrap();
    let (names, errors) = read(&base, "mount", Wanted::Modules);
    assert_eq!(names, ["mount/a.rego", "mount/d.json"]);
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn names_and_contents_do_not_run_into_each_other() {
    let digest = |name: &str, content: &str| {
        let mut sources = Sources::default();
        sources.insert(name, content);
        sources.digest()
    };
    assert_ne!(digest("ab", "c"), digest("a", "bc"));
}
