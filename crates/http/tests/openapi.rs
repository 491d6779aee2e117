//! The API's document is `web/openapi.json`: a changed API is a visible diff. Renew it with `UPDATE_OPENAPI=1`.

#[test]
fn the_document_is_the_one_the_console_was_generated_from() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/openapi.json");
    let now = anlan_http::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == now, "the API changed: run UPDATE_OPENAPI=1 cargo test -p anlan-http --test openapi, then npm run gen in web/");
}

#[test]
fn every_operation_says_what_it_answers_and_who_may_ask() {
    let document = serde_json::to_value(anlan_http::openapi()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
            assert!(operation["responses"].as_object().is_some_and(|r| !r.is_empty()), "{method} {path}");
            let open = operation["security"].as_array().is_some_and(|s| s.iter().any(|one| one == &serde_json::json!({})));
            let known =
                ["/api/v1/status", "/api/v1/setup", "/api/v1/test/clock", "/api/v1/certificates/keys", "/api/v1/certificates/verify"]
                    .contains(&path.as_str())
                    || (path == "/api/v1/session" && method == "post");
            assert_eq!(open, known, "{method} {path}: endpoints without sign-in are named here");
        }
    }
}
