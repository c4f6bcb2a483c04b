use super::*;

#[test]
fn placeholder_round_trip() {
    let mut b = BatchBuilder::new(BatchOptions::default());
    b.push(TimestampMs(5), Some(b"k"), Some(b"v"), &[("h", None)]).unwrap();
    let batch = Batch::parse(b.finish().freeze()).unwrap();
    batch.verify().unwrap();
    let records = batch.records().unwrap().collect_all().unwrap();
    assert_eq!(records.len(), 1);
}
