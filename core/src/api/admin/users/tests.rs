use super::*;
use crate::api::Settings;
use crate::http::Head;

fn begin(route: &Route, parameters: &[&str], text: &str) -> Result<Ask, Vec<String>> {
    let (head, settings) = (Head::default(), Settings::default());
    let parameters: Vec<String> = parameters.iter().map(|text| (*text).to_owned()).collect();
    let request = Request {
        parameters: &parameters,
        body: text.as_bytes(),
        ..Request::of(&head, &settings)
    };
    match (route.begin)(&request) {
        Ok(Next::Ask(super::super::super::Ask::Admin(super::super::Ask::Users(ask)))) => Ok(ask),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure.details.into_iter().map(|detail| detail.path).collect()),
    }
}

#[test]
fn a_new_user_is_named_in_one_way() {
    let named = |fields: &str| match begin(&CREATE, &[], &format!(r#"{{"password":"x",{fields}}}"#)) {
        Ok(Ask::Create(name, _)) => Some(name),
        _ => None,
    };
    assert_eq!(named(r#""address":"a@x.y""#).as_deref(), Some("a@x.y"));
    assert_eq!(
        named(r#""username":"a","domain":"x.y""#).as_deref(),
        Some("a@x.y")
    );
    assert_eq!(named(r#""username":"a""#).as_deref(), Some("a"));
    for bad in [
        r#""domain":"x.y""#,
        r#""address":"a@x.y","username":"a""#,
        r#""username":"a@x.y","domain":"x.y""#,
    ] {
        assert_eq!(named(bad), None, "{bad}");
    }
    assert_eq!(
        begin(
            &CREATE,
            &[],
            r#"{"quota_mb":-1,"admin":1,"send_as":["x"],"hash":"y"}"#
        ),
        Err(vec![
            "$.quota_mb".to_owned(),
            "$.admin".to_owned(),
            "$.send_as[0]".to_owned(),
            "$.password".to_owned(),
            "$.address".to_owned(),
            "$.hash".to_owned()
        ])
    );
}

#[test]
fn a_change_changes_what_it_names() {
    let of = |text: &str| match begin(&CHANGE, &["a@x.y"], text) {
        Ok(Ask::Change(name, change)) if name == "a@x.y" => *change,
        other => panic!("{other:?}"),
    };
    assert_eq!(of("{}"), UserChange::default());
    assert_eq!(of(r#"{"max_priority":null}"#).max_priority, Some(None));
    assert_eq!(of(r#"{"max_priority":3}"#).max_priority, Some(Some(3)));
    assert!(of(r#"{"enabled":false}"#).takes_admin_away() && !of(r#"{"enabled":true}"#).takes_admin_away());
    assert!(begin(&CHANGE, &["a"], r#"{"password":""}"#).is_err());
}

#[test]
fn nothing_of_a_secret_is_shown() {
    let user: User = serde_json::from_str(&format!(
        r#"{{"password":"{0}","app_passwords":[{{"name":"phone","password":"{0}"}}],"other":"x"}}"#,
        crate::auth::password::Hash::Scram(crate::auth::password::ScramKeys::derive(
            &Secret::new("x"),
            b"salt",
            7
        ))
    ))
    .expect("a user");
    let text = serde_json::to_string(&Shown::of("a@x.y", &user, None)).expect("JSON");
    assert!(text.contains(r#""has_password":true"#) && text.contains(r#""name":"phone""#));
    assert!(!text.contains("scram") && !text.contains("salt"), "{text}");
}

#[test]
fn a_name_stands_in_a_path_as_one_segment() {
    assert_eq!(encoded("a+b@x.y"), "a+b@x.y");
    assert_eq!(encoded("\"a/b?\"@x.y"), "%22a%2Fb%3F%22@x.y");
    assert_eq!(encoded("ü@x.y"), "%C3%BC@x.y");
}
