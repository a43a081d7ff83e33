//! What cannot be a service is refused where the user wrote it, with a sentence that says what to write instead; and
//! what can be one compiles without a warning. `TRYBUILD=overwrite` records the messages anew: those of `not_serde` and
//! `rpc_result` are partly the compiler's own words, which another version of it may change.

#[test]
fn refusals_point_at_the_users_token() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/fail/*.rs");
    cases.pass("ui/pass/*.rs");
}
