use std::collections::BTreeMap;

use super::*;

/// Domains x.y and z.y with users `alice`, `bob`, `tag+ged` and `off` (disabled) at x.y, and these aliases.
fn expand(aliases: &[(&str, &str)], to: &str) -> Expanded {
    let hosting = Hosting {
        domains: ["x.y", "z.y"]
            .map(|text| Domain::parse(text).expect("domain"))
            .into(),
        postmaster: None,
    };
    let files: BTreeMap<&str, Arc<AliasFile>> = aliases
        .iter()
        .map(|(domain, text)| (*domain, Arc::new(serde_json::from_str(text).expect(text))))
        .collect();
    let path = match to {
        "postmaster" => ForwardPath::Postmaster,
        to => ForwardPath::Address(Address::parse(to).expect(to)),
    };
    let mut expansion = Expansion::new(&hosting, &path);
    let mut asked = 0;
    while let Some(question) = expansion.question() {
        asked += 1;
        assert!(asked < 10_000, "it ends");
        match question {
            Question::Aliases(domain) => expansion.aliases(files.get(domain.as_str()).cloned()),
            Question::User(name) => expansion.user(match name.as_str() {
                "alice@x.y" | "bob@x.y" | "tag+ged@x.y" => Some(true),
                "off@x.y" => Some(false),
                _ => None,
            }),
        }
    }
    expansion.finish()
}

fn show(expanded: &Expanded) -> String {
    match expanded.leaves() {
        Err(refusal) => format!("{refusal:?}"),
        Ok(leaves) => {
            let text = |leaf: &Leaf| match leaf {
                Leaf::Account(account) => account.to_string(),
                Leaf::External(address) => format!("<{address}>"),
                Leaf::Postmaster => "postmaster".to_owned(),
            };
            leaves.iter().map(text).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Exact aliases of x.y: `a b,c; …`.
fn exact(rules: &str) -> String {
    let alias = |rule: &str| {
        let (name, targets) = rule.trim().split_once(' ').expect("name and targets");
        serde_json::json!({"name": name, "targets": targets.split(',').collect::<Vec<_>>()})
    };
    let rules: Vec<_> = rules.split(';').map(alias).collect();
    serde_json::json!({"aliases": rules}).to_string()
}

#[test]
fn the_order_of_rules() {
    let file = r#"{
      "aliases": [
        {"name": "sales", "targets": ["alice", "bob+x", "eve@other.org"]},
        {"name": "alice+vip", "targets": ["bob"]},
        {"name": "tag", "targets": ["alice"]}
      ],
      "patterns": [
        {"pattern": "(alice|bob|off|new).*", "targets": ["caught-$1@other.org"]},
        {"pattern": "to-(.*)", "targets": ["$1"]},
        {"pattern": "abuse", "targets": ["bob"]}
      ],
      "catch_all": {"targets": ["rest@other.org"]}
    }"#;
    for (to, found) in [
        ("alice@x.y", "alice@x.y"),
        ("Alice+News@X.Y", "alice@x.y"),
        ("ALICE+vip@x.y", "bob@x.y"),
        ("alice+vip+x@x.y", "alice@x.y"),
        ("tag+ged@x.y", "tag+ged@x.y"),
        ("tag+other@x.y", "alice@x.y"),
        ("sales@x.y", "alice@x.y bob@x.y <eve@other.org>"),
        ("sales+q@x.y", "alice@x.y bob@x.y <eve@other.org>"),
        ("off@x.y", "AccountDisabled"),
        ("newer@x.y", "<caught-new@other.org>"),
        ("to-sales@x.y", "alice@x.y bob@x.y <eve@other.org>"),
        ("to-off@x.y", "AccountDisabled"),
        ("nobody@x.y", "<rest@other.org>"),
        ("abuse@x.y", "bob@x.y"),
        ("postmaster@x.y", "<rest@other.org>"),
        ("postmaster@z.y", "postmaster"),
        ("postmaster", "postmaster"),
        ("nobody@z.y", "NoSuchUser"),
        ("a@other.org", "<a@other.org>"),
    ] {
        assert_eq!(show(&expand(&[("x.y", file)], to)), found, "{to}");
    }
}

#[test]
fn a_pattern_is_matched_with_the_tag_first() {
    let file = r#"{"patterns": [
      {"pattern": "p-(.*)\\+(.*)", "targets": ["$2-$1@o.org"]}, {"pattern": "p-(.)", "targets": ["$1@o.org"]}
    ]}"#;
    for (to, found) in [
        ("p-a+B@x.y", "<B-a@o.org>"),
        ("P-a@x.y", "<a@o.org>"),
        ("p-a+@x.y", "<-a@o.org>"),
        ("+p-a@x.y", "NoSuchUser"),
    ] {
        assert_eq!(show(&expand(&[("x.y", file)], to)), found, "{to}");
    }
}

#[test]
fn an_address_among_its_own_targets_is_the_user() {
    for (rules, to, found) in [
        ("alice alice,eve@o.org", "alice@x.y", "alice@x.y <eve@o.org>"),
        ("alice Alice@X.Y", "alice+t@x.y", "alice@x.y"),
        ("alice alice+t,bob", "alice@x.y", "alice@x.y bob@x.y"),
        ("alice bob;bob alice", "alice@x.y", "alice@x.y"),
        (
            "all alice,bob;alice bob;bob alice",
            "all@x.y",
            "alice@x.y bob@x.y",
        ),
        ("a b;b c;c a", "a@x.y", "AliasLoop"),
        ("a b,alice;b a", "a@x.y", "alice@x.y"),
        ("a a", "a@x.y", "AliasLoop"),
        ("a off", "a@x.y", "AccountDisabled"),
        ("a off,nobody", "a@x.y", "NoSuchUser"),
        (
            "postmaster postmaster,bob",
            "postmaster@x.y",
            "bob@x.y postmaster",
        ),
    ] {
        assert_eq!(show(&expand(&[("x.y", &exact(rules))], to)), found, "{rules}");
    }
    let there = r#"{"catch_all": {"targets": ["someone@z.y"]}}"#;
    let back = r#"{"patterns": [{"pattern": "(.*)", "targets": ["$1@x.y"]}]}"#;
    let expanded = expand(&[("x.y", there), ("z.y", back)], "any@x.y");
    assert_eq!(show(&expanded), "AliasLoop");
    let (node, failure) = expanded.failures().next().expect("a failure");
    assert_eq!(failure, Failure::Loop);
    assert_eq!(
        expanded.trail(node),
        "any@x.y → someone@z.y → someone@x.y → someone@z.y"
    );
}

#[test]
fn expansion_is_bounded() {
    let grows = r#"{"patterns": [{"pattern": "(.*)", "targets": ["x$1"]}]}"#;
    let expanded = expand(&[("x.y", grows)], "a@x.y");
    assert_eq!(show(&expanded), "AliasLoop");
    assert_eq!(
        expanded.failures().next().map(|(_, failure)| failure),
        Some(Failure::TooDeep)
    );

    // Each rule has two targets, and both have the same two.
    let doubles: Vec<String> = (0..12).map(|at| format!("d{at} d{0},d{0}", at + 1)).collect();
    assert!(expand(&[("x.y", &exact(&doubles[2..].join(";")))], "d2@x.y").too_many);

    let list = |count: usize| {
        let targets: Vec<String> = (0..count).map(|at| format!("m{at}@o.org")).collect();
        exact(&format!("half {};again {0};all half,again", targets.join(",")))
    };
    assert_eq!(
        expand(&[("x.y", &list(998))], "all@x.y")
            .leaves()
            .map(|leaves| leaves.len()),
        Ok(998)
    );
    assert_eq!(
        expand(&[("x.y", &list(1_000))], "all@x.y").leaves(),
        Err(Refusal::AliasLoop)
    );

    let chain: Vec<String> = (0..11).map(|at| format!("c{at} c{}", at + 1)).collect();
    let chain = exact(&format!("{};c11 alice", chain.join(";")));
    assert_eq!(show(&expand(&[("x.y", &chain)], "c2@x.y")), "alice@x.y");
    assert_eq!(show(&expand(&[("x.y", &chain)], "c1@x.y")), "AliasLoop");
    let long = r#"{"patterns": [{"pattern": "(.*)", "targets": ["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx$1"]}]}"#;
    assert_eq!(
        show(&expand(&[("x.y", long)], "aaaaaaaaaaaaaaaaaaa@x.y")),
        "NoSuchUser"
    );
}

#[test]
fn only_an_exact_alias_with_one_target_gives_its_name() {
    let file = r#"{
      "aliases": [
        {"name": "one", "targets": ["alice"]}, {"name": "chain", "targets": ["one"]},
        {"name": "two", "targets": ["alice", "bob"]}, {"name": "gone", "targets": ["alice", "nobody"]},
        {"name": "out", "targets": ["a@o.org"]}, {"name": "via", "targets": ["p"]}, {"name": "post", "targets": ["abuse"]},
        {"name": "twice", "targets": ["alice", "alice+x"]}
      ],
      "patterns": [{"pattern": "p", "targets": ["alice"]}],
      "catch_all": {"targets": ["alice"]}
    }"#;
    for (to, owner) in [
        ("one@x.y", Some("alice@x.y")),
        ("chain@x.y", Some("alice@x.y")),
        ("two@x.y", None),
        ("twice@x.y", None),
        ("gone@x.y", None),
        ("out@x.y", None),
        ("via@x.y", None),
        ("p@x.y", None),
        ("post@x.y", None),
        ("nobody@x.y", None),
    ] {
        let expanded = expand(&[("x.y", file)], to);
        assert_eq!(expanded.owner().map(AccountName::as_str), owner, "{to}");
    }
}
