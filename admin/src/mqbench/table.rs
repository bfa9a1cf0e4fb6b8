//! Figures that were measured several times, as the table of docs/BENCHMARKS.md and as JSON.

use serde::Serialize;

/// Values of one figure over the rounds.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    scenario: &'static str,
    name: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

/// All figures, in the order in which they were first measured.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub struct Figures(Vec<Figure>);

impl Figures {
    pub fn add(&mut self, scenario: impl Into<&'static str>, name: &'static str, unit: &'static str, value: f64) {
        let scenario = scenario.into();
        match self.0.iter_mut().find(|it| (it.scenario, it.name) == (scenario, name)) {
            Some(figure) => figure.values.push(value),
            None => self.0.push(Figure { scenario, name, unit, values: vec![value] }),
        }
    }

    /// A Markdown table: what docs/BENCHMARKS.md shows.
    pub fn text(&self) -> String {
        let mut out = "| scenario | figure | n | min | median | max |\n|---|---|---|---|---|---|\n".to_owned();
        for Figure { scenario, name, unit, values } in &self.0 {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let cells = [sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]].map(number);
            out += &format!("| {scenario} | {name}, {unit} | {} | {} |\n", sorted.len(), cells.join(" | "));
        }
        out
    }

    /// All values of the figures of this name.
    pub fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|it| it.name == name).flat_map(|it| &it.values).sum()
    }
}

fn number(it: f64) -> String {
    match it {
        _ if it.fract() == 0.0 => format!("{it:.0}"),
        _ if it.abs() < 1.0 => format!("{it:.2}"),
        _ => format!("{it:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_several_rounds_share_a_line() {
        let mut figures = Figures::default();
        for value in [3.0, 0.256, 12.34] {
            figures.add("start", "a broker accepts a send", "ms", value);
        }
        figures.add("start", "lost", "messages", 0.0);
        expect_test::expect![[r"
            | scenario | figure | n | min | median | max |
            |---|---|---|---|---|---|
            | start | a broker accepts a send, ms | 3 | 0.26 | 3 | 12.3 |
            | start | lost, messages | 1 | 0 | 0 | 0 |
        "]]
        .assert_eq(&figures.text());
        assert_eq!(figures.sum("lost"), 0.0);
    }
}
