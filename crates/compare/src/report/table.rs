//! Text tables: columns as wide as they need to be, numbers to the right.

/// A table in the making.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Whether it is the best of its column.
    pub(super) is_best: bool,
    /// Whether it is words, to the left.
    pub(super) is_words: bool,
}

/// Marks the best of a column; text, since a table may go to a file.
const BEST: char = '*';

/// Bold, and back again (ECMA-48, SGR).
const BOLD: (&str, &str) = ("\x1b[1m", "\x1b[0m");

impl Table {
    pub(super) fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|text| Cell::of(*text)).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The first column to the left, the others to the right; a free place behind each for the mark.
    pub(super) fn text(&self, colors: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let room = " ".repeat(width - cell.width());
                let (bold, plain) = if colors && cell.is_best { BOLD } else { ("", "") };
                let mark = if cell.is_best { BEST } else { ' ' };
                line += &match column {
                    0 => format!("{}{room}", cell.text),
                    _ if cell.is_words => format!("  {}{room} ", cell.text),
                    _ => format!("  {room}{bold}{}{mark}{plain}", cell.text),
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

impl Cell {
    pub(super) fn of(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), ..Cell::default() }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_the_best_is_marked() {
        let mut table = Table::new(&["model", "rps"]);
        table.row(vec![Cell::of("fiber"), Cell { is_best: true, ..Cell::of("100") }]);
        table.row(vec![Cell::of("event-pool"), Cell::of("7")]);
        assert_eq!(table.text(false), "model       rps\nfiber       100*\nevent-pool    7\n");
        assert!(table.text(true).contains("\x1b[1m100*\x1b[0m"));
    }
}
