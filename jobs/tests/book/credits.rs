//! The ledger of credits.

use std::time::Duration;

use jobs::book::{BookError, CreditKind, NewCreditEntry};
use jobs::rate::credits;
use jobs::rate::tenants::RatedTenants;
use rating::catalog::Catalog;
use rating::money::Amount;

use crate::invoices::amount;
use crate::place::Place;

pub fn entry(key: &str, tenant: &str, kind: CreditKind, credit: &str, value: &str) -> NewCreditEntry {
    NewCreditEntry {
        entry_key: key.to_owned(),
        tenant: tenant.to_owned(),
        currency: "USD".to_owned(),
        kind,
        credit: credit.to_owned(),
        amount: amount(value),
        priority: 5,
        effective_at_us: 10,
        expires_at_us: Some(20),
        source: "welcome".to_owned(),
        description: "five dollars to start with".to_owned(),
        document: None,
    }
}

async fn balance(place: &Place, tenant: &str) -> Amount {
    let book = place.open().await;
    let accounts = book.credit_accounts(&[tenant.to_owned()]).await.unwrap();
    accounts.values().map(jobs::book::CreditAccount::balance).sum()
}

pub async fn movements_make_the_balance(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    let granted_us = clock.now_us();
    let writing = book.begin().await.unwrap();
    writing
        .enter_credits(&[
            entry("g1", "acme", CreditKind::Grant, "welcome", "5.00"),
            entry("p1", "acme", CreditKind::Purchase, "bought", "10.00"),
            entry("g2", "other", CreditKind::Grant, "welcome", "5.00"),
        ])
        .await
        .unwrap();
    writing.commit().await.unwrap();
    clock.pass_seconds(1);
    let used = NewCreditEntry {
        document: Some(("vendor".to_owned(), 7)),
        ..entry("u1", "acme", CreditKind::Use, "welcome", "-1.25")
    };
    for _ in 0..2 {
        // The second time it is there already.
        let writing = book.begin().await.unwrap();
        writing.enter_credits(std::slice::from_ref(&used)).await.unwrap();
        writing.commit().await.unwrap();
    }
    let accounts = book.credit_accounts(&["acme".to_owned(), "nobody".to_owned()]).await.unwrap();
    assert_eq!(accounts.len(), 1);
    let account = accounts[&("acme".to_owned(), "USD".to_owned())].clone();
    assert_eq!(account.balance(), amount("13.75"));
    assert_eq!(account.entries.iter().map(|it| it.position).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(account.entries[2].entry, used);
    let credits = account.credits();
    let left: Vec<_> =
        credits.iter().map(|credit| (credit.id.as_str(), credit.balance.to_string())).collect();
    assert_eq!(left, [("welcome", "3.75".to_owned()), ("bought", "10.00".to_owned())]);
    assert_eq!((credits[0].priority, credits[0].effective_us, credits[0].expires_us), (5, 10, Some(20)));
    assert_eq!(credits[0].granted_us, granted_us);
    // What an invoice pinned stays what it was.
    let pinned = account.clone().up_to(2);
    assert_eq!(pinned.balance(), amount("15.00"));
    assert_ne!(pinned.digest().unwrap(), account.digest().unwrap());
    assert_eq!(account.clone().up_to(3).digest().unwrap(), account.digest().unwrap());
    let findings = book.check().await.unwrap();
    assert!(findings.iter().all(|finding| finding.broken.is_empty()), "{findings:?}");
}

pub async fn no_credit_is_overspent(place: &Place) {
    let book = place.open().await;
    let writing = book.begin().await.unwrap();
    writing.enter_credits(&[entry("g", "acme", CreditKind::Grant, "welcome", "5.00")]).await.unwrap();
    writing.commit().await.unwrap();
    for (name, refused) in [
        ("too much", entry("u", "acme", CreditKind::Use, "welcome", "-5.01")),
        ("another's", entry("u", "other", CreditKind::Use, "welcome", "-0.01")),
        ("another credit", entry("u", "acme", CreditKind::Use, "bought", "-0.01")),
        ("the same key with another amount", entry("g", "acme", CreditKind::Grant, "welcome", "6.00")),
        ("a use that comes in", entry("u", "acme", CreditKind::Use, "welcome", "1")),
        ("a grant of nothing", entry("u", "acme", CreditKind::Grant, "welcome", "0")),
    ] {
        let writing = book.begin().await.unwrap();
        assert!(writing.enter_credits(&[refused]).await.is_err(), "{name}");
        drop(writing);
        assert_eq!(balance(place, "acme").await, amount("5.00"), "{name}");
    }
    let writing = book.begin().await.unwrap();
    let both = [
        entry("a", "acme", CreditKind::Use, "welcome", "-3"),
        entry("b", "acme", CreditKind::Use, "welcome", "-3"),
    ];
    let refused = writing.enter_credits(&both).await.unwrap_err();
    assert_eq!(refused.to_string(), "credit `welcome` of acme has 2.00 left, 3 were to be used");
}

pub async fn credits_are_spent_once_by_many(place: &Place) {
    let book = place.open().await;
    let writing = book.begin().await.unwrap();
    writing.enter_credits(&[entry("g", "acme", CreditKind::Grant, "welcome", "5.00")]).await.unwrap();
    writing.commit().await.unwrap();
    let spenders: Vec<_> = (0..12)
        .map(|spender| {
            let book = book.clone();
            tokio::spawn(async move {
                let used = entry(&format!("u{spender}"), "acme", CreditKind::Use, "welcome", "-1.00");
                loop {
                    let writing = book.begin().await.unwrap();
                    match writing.enter_credits(std::slice::from_ref(&used)).await {
                        Ok(()) => {
                            writing.commit().await.unwrap();
                            return true;
                        }
                        Err(BookError::Overdrawn { .. }) => return false,
                        Err(error) => assert!(error.passes(), "{error:?}"),
                    }
                }
            })
        })
        .collect();
    let mut spent = 0;
    for spender in spenders {
        spent += usize::from(spender.await.unwrap());
    }
    assert_eq!(spent, 5);
    assert_eq!(balance(place, "acme").await, Amount::ZERO);
}

/// What the catalog grants is entered by a run that still has its lease, and by none that lost it.
pub async fn a_holder_that_wakes_late_grants_nothing(place: &Place) {
    let (book, clock) = place.open_with_clock().await;
    let catalog = "
catalog: shop
currency: USD
meters: { calls: { kind: delta, event_type: call, unit: call } }
plans: { basic: { prices: { fee: { description: Fee, flat: 1 } } } }
credits: { grants: { welcome: { amount: 5 } } }
tenants: { acme: { subscriptions: [{ plan: basic, from: 2020-01-01 }] } }
";
    let catalog = Catalog::parse(catalog, "shop.yaml").unwrap();
    let tenants = RatedTenants::new(&catalog, "2026-01".parse().unwrap(), None).unwrap();
    let minute = Duration::from_mins(1);
    let first = book.acquire_lease("drafts", "one", minute).await.unwrap();
    clock.pass_seconds(61);
    let second = book.acquire_lease("drafts", "two", minute).await.unwrap();
    let open = async |fence| credits::open(&book, fence, &catalog, &tenants, ["acme"].into_iter()).await;
    let refused = open(Some(&first)).await.unwrap_err();
    assert!(
        matches!(refused.downcast_ref(), Some(BookError::Fenced { token: 1, newest: 2, .. })),
        "{refused:#}"
    );
    assert_eq!(open(None).await.unwrap().len(), 0, "a dry run enters nothing");
    assert_eq!(balance(place, "acme").await, Amount::ZERO);
    for _ in 0..2 {
        assert_eq!(open(Some(&second)).await.unwrap()["acme"].entries, 1);
    }
    assert_eq!(balance(place, "acme").await, amount("5"));
}
