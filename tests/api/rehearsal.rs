//! `make rehearse-restore`.

use crate::support::development;

#[tokio::test]
async fn a_restore_loses_only_what_was_written_after_the_backup() {
    let report = local::rehearsal::run(development()).await.unwrap();
    assert!(report.before > 0 && report.after > 0 && report.lost_after > 0, "{report}");
    assert_eq!((report.lost_before, report.left), (0, 0), "{report}");
    assert!(report.redacted > 0 && report.back == report.redacted, "the redactions were lost: {report}");
}
