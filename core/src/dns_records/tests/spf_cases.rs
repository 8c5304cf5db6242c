//! SPF records, and what they say of one address (RFC 7208).

use super::*;

#[test]
fn spf_is_evaluated_with_its_bounds() {
    let txt = |owner: &str, text: &str| Record::new(name(owner), Value::Txt(text.to_owned()));
    let a = |owner: &str, text: &str| Record::new(name(owner), Value::Address(ip(text)));
    let mut zone = vec![
        txt("inc.test", "v=spf1 ip4:198.51.100.0/24 -all"),
        txt("redirect.test", "v=spf1 redirect=inc.test"),
        txt("loop.test", "v=spf1 include:loop.test -all"),
        txt("nobody.test", "no spf"),
        a("host.test", "198.51.100.7"),
        a("host.test", "2001:db8::7"),
        Record::new(name("mx.test"), Value::Mx(1, name("host.test"))),
    ];
    let cases = [
        ("v=spf1 include:inc.test -all", "pass"),
        ("v=spf1 include:redirect.test -all", "pass"),
        ("V=SPF1 INCLUDE:inc.test -ALL", "pass"),
        ("v=spf1 a:host.test -all", "pass"),
        ("v=spf1 a:host.test/31 -all", "pass"),
        ("v=spf1 a:host.test//64 -all", "pass"),
        ("v=spf1 mx:mx.test/24//64 -all", "pass"),
        ("v=spf1 ip4:198.51.100.7 -all", "pass"),
        ("v=spf1 -ip4:198.51.100.7 +all", "fail"),
        ("v=spf1 ip6:2001:db8::/32 ?all", "neutral"),
        ("v=spf1 exp=x.test redirect=inc.test", "pass"),
        ("v=spf1 exists:host.test", "pass"),
        ("v=spf1", "neutral"),
        ("v=spf10 all", "none"),
        ("v=spf1 -all redirect=inc.test", "fail"),
        ("v=spf1 ~all", "softfail"),
        ("v=spf1 include:nobody.test ~all", "permerror"),
        ("v=spf1 redirect=nobody.test", "permerror"),
        ("v=spf1 include:loop.test", "permerror"),
        ("v=spf1 a:v1.test a:v2.test a:v3.test all", "permerror"),
        ("v=spf1 a:v1.test a:v2.test all", "pass"),
        ("v=spf1 ip4:300.1.1.1 all", "permerror"),
        ("v=spf1 ip4:2001:db8::1 all", "permerror"),
        ("v=spf1 a:host.test/33 all", "permerror"),
        ("v=spf1 a:host.test/+8 all", "permerror"),
        ("v=spf1 foo all", "permerror"),
        ("v=spf1 include: all", "permerror"),
        ("v=spf1 ptr all", "open"),
        ("v=spf1 a:%{d}.test all", "open"),
    ];
    for (record, expected) in cases {
        zone.retain(|record| record.name != name("try.test"));
        zone.push(txt("try.test", record));
        let mut facts = Facts::default();
        let outcome = loop {
            let outcome = spf::evaluate(&mut facts, &name("try.test"), ip("198.51.100.7"));
            let missing = facts.missing();
            if missing.is_empty() {
                break outcome.expect("all is known");
            }
            for wanted in missing {
                let Wanted::Dns(question) = wanted else { continue };
                let result = answer(&zone, &question);
                facts.dns(question, result);
            }
        };
        let word = match outcome {
            spf::Outcome::Pass(_) => "pass",
            spf::Outcome::Fail => "fail",
            spf::Outcome::SoftFail => "softfail",
            spf::Outcome::Neutral => "neutral",
            spf::Outcome::None => "none",
            spf::Outcome::PermError(_) => "permerror",
            spf::Outcome::Open(_) => "open",
        };
        assert_eq!(word, expected, "{record}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Terms as they may be, and what is between them: nothing makes it panic, and the number of questions is bounded.
    #[test]
    fn no_record_makes_it_panic_or_ask_for_ever(
        terms in proptest::collection::vec("[-+~?]?(a|mx|ip4|ip6|include|all|ptr|exists|redirect|exp|\\PC)[:=/]?[a-z0-9.:/%{}_]{0,12}", 0..20),
        six: bool,
    ) {
        let zone = [Record::new(name("try.test"), Value::Txt(format!("v=spf1 {}", terms.join(" "))))];
        let from = ip(if six { "2001:db8::7" } else { "198.51.100.7" });
        let mut facts = Facts::default();
        let mut asked = 0;
        while spf::evaluate(&mut facts, &name("try.test"), from).is_err() {
            for wanted in facts.missing() {
                let Wanted::Dns(question) = wanted else { continue };
                let result = answer(&zone, &question);
                facts.dns(question, result);
                asked += 1;
            }
            proptest::prop_assert!(asked < 200);
        }
    }
}
