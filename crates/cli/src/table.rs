//! Tables for people: units in the head, numbers to the right, at most as wide as they must be.

/// How a column is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table with its head.
pub struct Table {
    head: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[(&'static str, Align)]) -> Table {
        Table::with_head(head.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect())
    }
    /// With names that are only known as it is made, e.g. a currency.
    pub fn with_head(head: Vec<(String, Align)>) -> Table {
        Table { head, rows: Vec::new() }
    }
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.head.len());
        self.rows.push(cells);
    }
    /// The text, each line ended, nothing after the last cell.
    pub fn render(&self) -> String {
        let width = |i: usize| {
            let cells = self.rows.iter().map(|row| row[i].chars().count());
            cells.chain([self.head[i].0.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for (i, cell) in cells.enumerate() {
                let pad = " ".repeat(widths[i].saturating_sub(cell.chars().count()));
                let gap = if i == 0 { "" } else { "  " };
                match self.head[i].1 {
                    Align::Left => text.push_str(&format!("{gap}{cell}{pad}")),
                    Align::Right => text.push_str(&format!("{gap}{pad}{cell}")),
                }
            }
            format!("{}\n", text.trim_end())
        };
        let mut text = line(&mut self.head.iter().map(|(name, _)| name.as_str()));
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
        }
        text
    }
}

/// At most `most` characters of a name: its end tells most.
pub fn fitted(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(length + 1 - most).collect();
    format!("…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let mut table = Table::new(&[("POLICY", Align::Left), ("kg", Align::Right)]);
        table.row(vec!["optimal".to_owned(), "1.5".to_owned()]);
        table.row(vec!["a".to_owned(), "120".to_owned()]);
        assert_eq!(table.render(), "POLICY    kg\noptimal  1.5\na        120\n");
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(fitted("kr/demo/Deployment/web", 12), "…loyment/web");
        assert_eq!(fitted("web", 3), "web");
    }
}
