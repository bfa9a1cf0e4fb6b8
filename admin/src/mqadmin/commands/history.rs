//! `history` and `explain`: what happened to a broker set, and why it is as it is. Baton's own; times are UTC.

use super::super::java_text::parse_instant;
use super::super::options::Given;
use super::super::{Context, print};
use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proto::body::HistoryLine;

pub(crate) async fn history(context: Context, given: Given) -> anyhow::Result<()> {
    // People try `-n 20`; as a nameserver's address that would be nonsense.
    let most = given.get("n").and_then(|it| it.parse().ok());
    let most = given.parse("m", "how many events")?.or(most);
    let leader = context.admin.controller_leader(given.required("a")).await?;
    let lines = context.admin.history(&leader, given.required("b"), most).await?;
    print(&text(given.required("b"), &lines))
}

pub(crate) async fn explain(context: Context, given: Given) -> anyhow::Result<()> {
    let at = given.get("at").map(instant).transpose()?;
    let leader = context.admin.controller_leader(given.required("a")).await?;
    print(&context.admin.explain(&leader, given.required("b"), at).await?)
}

fn text(broker_set: &str, lines: &[HistoryLine]) -> String {
    if lines.is_empty() {
        return format!("nothing has happened to {broker_set} yet\n");
    }
    let line = |it: &HistoryLine| format!("{}  #{:<8} {}\n", utc(it.at_ms), it.index, it.text);
    format!("{:<23}  {:<9} event\n", "time (UTC)", "index") + &lines.iter().map(line).collect::<String>()
}

fn utc(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => millis.to_string(),
    }
}

/// `2026-11-21 12:03`, with seconds, fractions or a time zone (`12:03+08:00`) if wanted; RocketMQ's
/// `2026-11-21#12:03:00:000`; or milliseconds since 1970.
fn instant(text: &str) -> anyhow::Result<i64> {
    let civil = || Some(text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    let known = text.parse::<Timestamp>().ok().or_else(civil).map(|it| it.as_millisecond());
    known.or_else(|| parse_instant(text, &TimeZone::UTC)).with_context(|| {
        format!("option --at is `{text}`: want a time (UTC), as in `2026-11-21 12:03` or `2026-11-21T12:03:00+08:00`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_event_is_a_line() {
        let line = |index, at_ms, text: &str| HistoryLine { index, at_ms, text: text.into(), ..Default::default() };
        let lines =
            [line(7, 1_795_262_587_120, "master none -> 1, epoch 1"), line(1234567, 0, "election refused: why")];
        expect![[r"
            time (UTC)               index     event
            2026-11-21 12:03:07.120  #7        master none -> 1, epoch 1
            1970-01-01 00:00:00.000  #1234567  election refused: why
        "]]
        .assert_eq(&text("broker-a", &lines));
        assert_eq!(text("broker-a", &[]), "nothing has happened to broker-a yet\n");
    }

    #[test]
    fn a_time_may_be_written_as_people_write_it() {
        for text in [
            "2026-11-21 12:03:07.12",
            "2026-11-21T12:03:07.120",
            "2026-11-21T12:03:07.12Z",
            "2026-11-21 20:03:07.12+08:00",
            "2026-11-21#12:03:07:120",
            "1795262587120",
        ] {
            assert_eq!(instant(text).unwrap(), 1_795_262_587_120, "{text}");
        }
        assert_eq!(instant("2026-11-21 12:03").unwrap(), 1_795_262_580_000);
        let error = instant("noon").unwrap_err().to_string();
        assert_eq!(
            error,
            "option --at is `noon`: want a time (UTC), as in `2026-11-21 12:03` or `2026-11-21T12:03:00+08:00`"
        );
    }
}
