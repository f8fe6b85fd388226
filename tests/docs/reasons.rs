//! docs/reason-codes.md.

use attache::permission::{Class, Reason};

use crate::markdown::{code, tables_of};

#[test]
fn every_reason_code_is_listed_under_its_class_and_no_other() {
    let mut listed = Vec::new();
    for table in tables_of("docs/reason-codes.md", "code") {
        for row in &table.rows {
            let (_, class) = table
                .heading
                .split_once("? ")
                .or(table.heading.split_once(". "))
                .unwrap();
            listed.push((code(&row[0]), class.to_owned()));
            assert!(row[1..].iter().all(|cell| !cell.is_empty()), "{row:?}");
        }
    }
    let raised: Vec<_> = Reason::ALL
        .into_iter()
        .map(|reason| {
            let class = match reason.class() {
                Class::Unauthenticated => "HTTP 401, gRPC UNAUTHENTICATED",
                Class::Refused => "HTTP 403, gRPC PERMISSION_DENIED",
                Class::Undecided => "HTTP 503, gRPC UNAVAILABLE",
            };
            (reason.as_str().to_owned(), class.to_owned())
        })
        .collect();
    assert_eq!(listed, raised);
}
