//! Columns: lines of cells separated by tabs become lines padded with spaces, as Go's tabwriter
//! does it with a padding of three.

/// Spaces between columns.
const PADDING: usize = 3;

/// Aligns lines that come in batches. A column is as wide as its widest cell so far, so a later
/// batch continues the columns of an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Aligner {
    widths: Vec<usize>,
}

impl Aligner {
    /// The lines with their tabs replaced. What follows the last tab of a line is in no column:
    /// it is neither padded nor does it widen one.
    pub(crate) fn align(&mut self, lines: &[String]) -> Vec<String> {
        for line in lines {
            self.widen(line);
        }
        lines.iter().map(|line| self.pad(line)).collect()
    }

    fn widen(&mut self, line: &str) {
        let mut cells: Vec<&str> = line.split('\t').collect();
        cells.pop();
        if self.widths.len() < cells.len() {
            self.widths.resize(cells.len(), 0);
        }
        for (width, cell) in self.widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }

    fn pad(&self, line: &str) -> String {
        let mut padded = String::with_capacity(line.len() * 2);
        let mut missing = 0;
        for (index, cell) in line.split('\t').enumerate() {
            padded.extend(std::iter::repeat_n(' ', missing));
            padded.push_str(cell);
            let width = self.widths.get(index).copied().unwrap_or_default();
            missing = (width + PADDING).saturating_sub(cell.chars().count());
        }
        padded.truncate(padded.trim_end().len());
        padded
    }
}

/// Aligns one complete table.
pub(crate) fn align(lines: &[String]) -> Vec<String> {
    Aligner::default().align(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_start_at_the_same_place() {
        let table = lines(&[
            "ID\tNAME\tSUBNETS",
            "4097\tapp\t10.0.1.0/24",
            "1\tbackend\t-",
        ]);
        let expected = [
            "ID     NAME      SUBNETS",
            "4097   app       10.0.1.0/24",
            "1      backend   -",
        ];
        assert_eq!(align(&table), expected);
    }

    #[test]
    fn the_last_cell_is_as_long_as_it_likes() {
        let table = lines(&["A\tB", "1\ta very long last cell", "22\tx"]);
        assert_eq!(
            align(&table),
            ["A    B", "1    a very long last cell", "22   x"]
        );
    }

    #[test]
    fn characters_count_not_bytes() {
        let table = lines(&["ä\tb", "xx\tc"]);
        assert_eq!(align(&table), ["ä    b", "xx   c"]);
    }

    #[test]
    fn empty_cells_keep_their_column_and_leave_no_blanks_at_the_end() {
        let table = lines(&["A\tB\tC", "\t\tx", "y\t\t"]);
        assert_eq!(align(&table), ["A   B   C", "        x", "y"]);
    }

    #[test]
    fn lines_may_have_different_numbers_of_cells() {
        let table = lines(&["one", "a\tb", ""]);
        assert_eq!(align(&table), ["one", "a   b", ""]);
    }

    #[test]
    fn a_later_batch_continues_the_columns() {
        let mut aligner = Aligner::default();
        assert_eq!(aligner.align(&lines(&["NAME\tX"])), ["NAME   X"]);
        assert_eq!(aligner.align(&lines(&["a\tb"])), ["a      b"]);
    }

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(ToString::to_string).collect()
    }
}
