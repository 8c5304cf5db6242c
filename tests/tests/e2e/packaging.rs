//! What a package needs: the program stands alone, completions and manual pages are made of it, the unit is a good one.

use std::fs;
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
