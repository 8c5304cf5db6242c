//! What a package needs: the program stands alone, completions and manual pages are made of it, the unit is a good one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rmail_tests::{find_optional, rmail, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_path_buf()
}

/// What `rmail --help` lists.
fn commands() -> Vec<String> {
    let help = run(Command::new(rmail()).arg("--help"));
    let (_, rest) = help.split_once("Commands:\n").expect("a list");
    let names: Vec<String> = rest
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned))
        .filter(|name| !name.is_empty() && name != "help")
        .collect();
    assert!(names.len() > 10, "{help}");
    names
}

#[test]
fn completions_and_manual_pages_are_made_and_name_every_command() {
    let dir = tempfile::tempdir().expect("a directory");
    run(Command::new("sh")
        .arg(root().join("packaging/extras"))
        .arg(rmail())
        .arg(dir.path()));
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect(name);
    for command in commands() {
        for file in ["rmail.bash", "_rmail", "rmail.fish"] {
            assert!(read(file).contains(&command), "{file} does not know {command}");
        }
        let page = read(&format!("man1/rmail-{command}.1"));
        assert!(page.contains(".TH") && page.contains(&command), "{page}");
    }
    if let Some(bash) = find_optional("bash") {
        run(Command::new(&bash).arg("-n").arg(dir.path().join("rmail.bash")));
        let ask = "source $0; COMP_WORDS=(rmail que); COMP_CWORD=1; _rmail rmail que rmail; echo \"${COMPREPLY[@]}\"";
        let completed = run(Command::new(bash)
            .arg("-c")
            .arg(ask)
            .arg(dir.path().join("rmail.bash")));
        assert_eq!(completed.trim(), "queue");
    }
}

#[test]
fn the_program_needs_nothing_but_the_c_library() {
    let Some(ldd) = find_optional("ldd") else {
        return;
    };
    let listed = run(Command::new(ldd).arg(rmail()));
    let plain = [
        "linux-vdso",
        "libc.",
        "libm.",
        "libgcc_s.",
        "ld-linux",
        "ld-musl",
        "libpthread.",
        "libdl.",
        "statically linked",
    ];
    for line in listed.lines().filter(|line| !line.trim().is_empty()) {
        assert!(plain.iter().any(|name| line.contains(name)), "{line}");
    }
}

#[test]
fn what_the_debian_package_names_is_there() {
    let manifest = fs::read_to_string(root().join("runtime/Cargo.toml")).expect("Cargo.toml");
    let (_, deb) = manifest.split_once("[package.metadata.deb]").expect("metadata");
    let mut sources: Vec<&str> = deb
        .split('"')
        .filter(|word| word.starts_with("../") && !word.starts_with("../target"))
        .collect();
    sources.sort_unstable();
    assert!(sources.len() >= 5, "{sources:?}");
    for source in sources {
        assert!(root().join("runtime").join(source).exists(), "{source}");
    }
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh")
            .arg("-n")
            .arg(root().join("packaging/debian").join(script)));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.json");
    let packaged = fs::read_to_string(root().join("packaging/debian/config.json")).expect("a configuration");
    let mail_root = dir.path().display().to_string();
    fs::write(&config, packaged.replace("/var/lib/rmail", &mail_root)).expect("written");
    run(Command::new(rmail())
        .arg("--config")
        .arg(&config)
        .args(["config", "check"]));
}

/// Source, target and mode of each file that the metadata of the package names.
fn assets(manifest: &str) -> Vec<(String, String, u32)> {
    let (_, deb) = manifest.split_once("[package.metadata.deb]").expect("metadata");
    let (_, list) = deb.split_once("assets = [").expect("a list");
    let (list, _) = list.split_once("\n]").expect("its end");
    let entry = |line: &str| {
        let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let [source, target, mode] = words[..] else {
            panic!("{line}")
        };
        let mode = u32::from_str_radix(mode, 8).expect("a mode");
        (source.to_owned(), target.to_owned(), mode)
    };
    list.lines()
        .filter(|line| line.contains('"'))
        .map(entry)
        .collect()
}

/// Puts what the package has where it has it, but for the program, which is this one.
fn lay_out(tree: &Path, extras: &Path) {
    let manifest = fs::read_to_string(root().join("runtime/Cargo.toml")).expect("Cargo.toml");
    for (source, target, mode) in assets(&manifest) {
        let path = match (
            source.strip_prefix("../target/packaging/"),
            source.strip_prefix("../"),
        ) {
            (Some(made), _) => extras.join(made),
            (None, Some(ours)) => root().join(ours),
            (None, None) => rmail(),
        };
        let files = match path.file_name().and_then(|name| name.to_str()) {
            Some("*.1") => {
                let pages = fs::read_dir(path.parent().expect("a directory")).expect("pages");
                pages.map(|page| page.expect("a page").path()).collect()
            }
            _ => vec![path],
        };
        assert!(!files.is_empty(), "{source}");
        for file in files {
            let name = file.file_name().expect("a name");
            let to = match target.ends_with('/') {
                true => tree.join(&target).join(name),
                false => tree.join(&target),
            };
            fs::create_dir_all(to.parent().expect("a directory")).expect("directories");
            fs::copy(&file, &to).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            fs::set_permissions(&to, fs::Permissions::from_mode(mode)).expect("changed");
        }
    }
}

#[test]
fn a_package_of_what_the_metadata_names_is_unpacked_and_works() {
    let Some(dpkg) = find_optional("dpkg-deb") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (tree, extras, unpacked) = (
        dir.path().join("tree"),
        dir.path().join("extras"),
        dir.path().join("unpacked"),
    );
    run(Command::new("sh")
        .arg(root().join("packaging/extras"))
        .arg(rmail())
        .arg(&extras));
    lay_out(&tree, &extras);
    fs::create_dir(tree.join("DEBIAN")).expect("made");
    let control = "Package: rmail-server\nVersion: 0\nArchitecture: all\nMaintainer: none <none@example.com>\n\
        Description: a mail server\n";
    fs::write(tree.join("DEBIAN/control"), control).expect("written");
    fs::write(tree.join("DEBIAN/conffiles"), "/etc/rmail/config.json\n").expect("written");
    for script in ["postinst", "prerm", "postrm"] {
        let to = tree.join("DEBIAN").join(script);
        fs::copy(root().join("packaging/debian").join(script), &to).expect("copied");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("changed");
    }
    let package = dir.path().join("package.deb");
    run(Command::new(&dpkg)
        .args(["-Znone", "--root-owner-group", "--build"])
        .arg(&tree)
        .arg(&package));
    run(Command::new(dpkg).arg("--extract").arg(&package).arg(&unpacked));

    // What the unit starts is there, and takes the configuration that comes with it.
    let unit = fs::read_to_string(unpacked.join("usr/lib/systemd/system/rmail.service")).expect("a unit");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/"));
    let words: Vec<&str> = start.expect("a command").split(' ').collect();
    let [program, "--config", config, "serve"] = words[..] else {
        panic!("{words:?}")
    };
    let told = run(Command::new(unpacked.join(program))
        .arg("--config")
        .arg(unpacked.join(config.trim_start_matches('/')))
        .args(["config", "show", "mail_root"]));
    assert!(told.contains("/var/lib/rmail"), "{told}");
    let pages = fs::read_dir(unpacked.join("usr/share/man/man1")).expect("pages");
    assert!(pages.count() > commands().len());
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_of_the_package() {
    let Some(analyze) = find_optional("systemd-analyze") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let unit = fs::read_to_string(root().join("packaging/debian/rmail.service")).expect("a unit");
    let file = dir.path().join("rmail.service");
    let program = rmail().display().to_string();
    fs::write(&file, unit.replace("/usr/bin/rmail", &program)).expect("written");
    let output = Command::new(analyze)
        .arg("verify")
        .arg(&file)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // Units of others on this host may have faults of their own.
    let ours = said.lines().find(|line| line.contains("rmail.service"));
    assert_eq!(ours, None, "{said}");
}

#[test]
fn the_unit_of_the_package_says_what_that_of_install_says() {
    /// What depends on where things are.
    const OWN: [&str; 7] = [
        "ExecStart",
        "WorkingDirectory",
        "User",
        "Group",
        "ReadWritePaths",
        "ProtectHome",
        "TimeoutStopSec",
    ];
    let packaged = fs::read_to_string(root().join("packaging/debian/rmail.service")).expect("a unit");
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.json");
    fs::write(&config, "{}").expect("written");
    let printed = run(Command::new(rmail()).arg("--config").arg(&config).args([
        "install",
        "--dry-run",
        "--user",
        "root",
    ]));
    let (_, unit) = printed.split_once("[Unit]").expect("a unit");
    let (unit, _) = unit.split_once("WantedBy=").expect("its end");
    for line in unit.lines() {
        let key = line.split('=').next().unwrap_or_default();
        let same = OWN.contains(&key) || packaged.lines().any(|other| other == line);
        assert!(same, "the package's unit lacks {line}");
    }
}
