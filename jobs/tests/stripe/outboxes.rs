//! The conformance suite of an outbox: what each implementation must keep.

use jobs::stripe::outbox::Claim;
use jobs::stripe::plan::{IssuedInvoice, plan};
use jobs::stripe::{Outbox, OutboxError, RecordState, StripeRecord};

use crate::stores::{Store, over_each_outbox};
use crate::world::{Days, catalog, invoice};

over_each_outbox! {
    one_thread { conforms, }
}

fn records() -> Vec<StripeRecord> {
    let catalog = catalog(3);
    let dice = jobs::stripe::clock::Dice::new(1);
    let mut records = Vec::new();
    for tenant in ["t0", "t1", "t2"] {
        let invoice = invoice(&catalog, tenant, &dice);
        let number = format!("C-{tenant}");
        let issued = IssuedInvoice { number: &number, invoice: &invoice, pdf_link: None };
        records.extend(plan(&issued, &catalog, &Days).unwrap());
    }
    records
}

fn claim(now_us: i64, limit: usize) -> Claim {
    Claim { now_us, until_us: now_us + 300, limit }
}

/// Everything that the trait asks for.
async fn conforms(store: &Store) {
    let outbox = store.filled(&[]).await;
    let records = records();
    // Once, whoever inserts again; and another content is refused whole.
    assert_eq!(outbox.insert(&records[..10]).await.unwrap(), 10);
    assert_eq!(outbox.insert(&records).await.unwrap(), records.len() - 10);
    assert_eq!(outbox.insert(&records).await.unwrap(), 0);
    let mut other = records.clone();
    other[3].content.amount_minor = Some(-77);
    let mut new = records[0].clone();
    "new".clone_into(&mut new.key);
    let refused = outbox.insert(&[new, other[3].clone()]).await;
    assert!(matches!(refused, Err(OutboxError::OtherContent { key }) if key == records[3].key));
    assert!(outbox.find("new").await.unwrap().is_none());
    assert_eq!(outbox.list(None).await.unwrap().len(), records.len());

    // One of each group, the first that waits; its sending is known before it is handed out.
    let groups: std::collections::BTreeSet<&str> =
        records.iter().map(|record| record.group.as_str()).collect();
    let some = outbox.claim(claim(1000, 2)).await.unwrap();
    assert_eq!(some.len(), 2);
    let mut claimed = outbox.claim(claim(1001, 1000)).await.unwrap();
    claimed.extend(some);
    assert_eq!(claimed.len(), groups.len());
    for record in &claimed {
        let group = outbox.group(&record.group).await.unwrap();
        assert_eq!(group[0].key, record.key);
        assert!(group.is_sorted_by_key(|record| record.sequence));
        let held = outbox.find(&record.key).await.unwrap().unwrap();
        assert_eq!((held.first_sent_us, held.attempts), (record.first_sent_us, 1));
        assert!(record.first_sent_us.is_some());
    }
    assert!(outbox.claim(claim(1002, 1000)).await.unwrap().is_empty());
    assert!(outbox.next_due_us().await.unwrap().unwrap() >= 1300);

    // What is confirmed makes room for the next of its group; what is put off does not.
    let mut first = claimed.remove(0);
    first.state = RecordState::Confirmed;
    first.stripe_id = Some("in_1".to_owned());
    let mut second = claimed.remove(0);
    second.next_attempt_us = 5000;
    second.last_error = Some("later".to_owned());
    assert_eq!(outbox.store(&[first.clone(), second.clone()]).await.unwrap(), 2);
    let next = outbox.claim(claim(1003, 1000)).await.unwrap();
    let has_more = outbox.group(&first.group).await.unwrap().len() > 1;
    assert_eq!(next.len(), usize::from(has_more));
    assert!(next.iter().all(|record| record.group == first.group && record.key != first.key));
    assert_eq!(outbox.list(Some(RecordState::Confirmed)).await.unwrap().len(), 1);
    let held = outbox.find(&first.key).await.unwrap().unwrap();
    assert_eq!((held.state, held.stripe_id.as_deref()), (RecordState::Confirmed, Some("in_1")));

    // After a claim has lapsed another takes over, and the one before stores nothing any more.
    let lapsed = outbox.claim(claim(2000, 1000)).await.unwrap();
    assert_eq!(lapsed.len(), claimed.len() + next.len());
    let mut zombie = claimed[0].clone();
    zombie.state = RecordState::Rejected;
    assert_eq!(outbox.store(&[zombie.clone()]).await.unwrap(), 0);
    let taken_over = lapsed.iter().find(|record| record.key == zombie.key).unwrap();
    assert_eq!(taken_over.first_sent_us, zombie.first_sent_us);
    assert_eq!(outbox.find(&zombie.key).await.unwrap().unwrap().state, RecordState::Waiting);

    // What was sent is due again, to be confirmed; that is no attempt to send.
    let mut sent = taken_over.clone();
    sent.state = RecordState::Sent;
    sent.attempts = 0;
    sent.next_attempt_us = 2500;
    assert_eq!(outbox.store(&[sent.clone()]).await.unwrap(), 1);
    let again = outbox.claim(claim(2600, 1000)).await.unwrap();
    let due = again.iter().filter(|record| record.group == sent.group).count();
    assert_eq!(due, 1);
    if let Some(looked) = again.iter().find(|record| record.key == sent.key) {
        assert_eq!((looked.attempts, looked.first_sent_us), (0, sent.first_sent_us));
    }
}
