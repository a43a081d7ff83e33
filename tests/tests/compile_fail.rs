//! What cannot be a service is refused where the user wrote it, with a sentence that says what to write instead. What can be
//! one, in `ui/pass`, compiles without a warning: those are programs of this package. Were they cases here, trybuild would
//! build every case by itself, rather than check all at once. `TRYBUILD=overwrite` records the messages anew: those of `not_serde` and
//! `rpc_result` are partly the compiler's own words, which another version of it may change.

#[test]
fn refusals_point_at_the_users_token() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/fail/*.rs");
}

#[test]
fn what_is_accepted_is_built() {
    let manifest = include_str!("../Cargo.toml");
    let mut programs = 0;
    for entry in std::fs::read_dir("ui/pass").expect("the directory is there") {
        let name = entry.expect("it can be read").file_name();
        let path = format!("path = \"ui/pass/{}\"", name.to_string_lossy());
        assert!(manifest.contains(&path), "nothing in Cargo.toml has {path}");
        programs += 1;
    }
    assert!(programs >= 4, "only {programs} were found");
}
