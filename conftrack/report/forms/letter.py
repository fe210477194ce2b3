"""The document that a report in official form is filled into, unless the user has one of their own.

The layout is that of Appendix I of Decree 30/2020/NĐ-CP: A4, margins of 20 mm above and below, 30 mm on the left and
15 mm on the right, Times New Roman of 13 to 14 points, the motto on the right of those who issue it, recipients on the
left of the signature, page numbers in the middle of the top of every page but the first.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import docx
from docx.enum.section import WD_ORIENT, WD_SECTION
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Mm, Pt, RGBColor
from docx.text.paragraph import Paragraph

_FONT = "Times New Roman"
_LEFT, _CENTER, _RIGHT, _BOTH = (
    WD_ALIGN_PARAGRAPH.LEFT, WD_ALIGN_PARAGRAPH.CENTER, WD_ALIGN_PARAGRAPH.RIGHT, WD_ALIGN_PARAGRAPH.JUSTIFY
)  # fmt: skip
_BODY, _TABLE, _ANNEX = Pt(13), Pt(10), Pt(9)


def template(text: Callable[[str], str]) -> bytes:
    """In the language that `text` translates to."""
    made = BytesIO()
    _Letter(text).write().save(made)
    return made.getvalue()


class _Letter:
    def __init__(self, text: Callable[[str], str]) -> None:
        self._ = text
        self.document: Any = docx.Document()

    def write(self) -> Any:
        document = self.document
        normal = document.styles["Normal"]
        normal.font.name, normal.font.size = _FONT, _BODY
        normal.element.rPr.rFonts.set(qn("w:eastAsia"), _FONT)
        normal.paragraph_format.space_after = normal.paragraph_format.space_before = Pt(0)
        for level in (1, 2):
            style = document.styles[f"Heading {level}"]
            style.font.name, style.font.bold, style.font.color.rgb = _FONT, True, RGBColor(0, 0, 0)
            style.font.size = Pt(14 if level == 1 else 13)
            style.element.rPr.rFonts.attrib.clear()
            for script in ("w:ascii", "w:hAnsi", "w:cs", "w:eastAsia"):
                style.element.rPr.rFonts.set(qn(script), _FONT)
            style.paragraph_format.space_before, style.paragraph_format.space_after = Pt(12), Pt(4)
        section = document.sections[0]
        section.page_width, section.page_height = Mm(210), Mm(297)
        section.top_margin = section.bottom_margin = Mm(20)
        section.left_margin, section.right_margin = Mm(30), Mm(15)
        self._number_pages(section)
        self._head()
        self._body()
        self._sign()
        self._annexes()
        return document

    def _number_pages(self, section: Any) -> None:
        section.different_first_page_header_footer = True
        line = section.header.paragraphs[0]
        line.alignment = _CENTER
        _field(line, "PAGE")
        for footer in (section.first_page_footer, section.footer):
            self._line("{{ mark }}", footer, _CENTER, size=Pt(9), italic=True)

    def _head(self) -> None:
        _ = self._
        table = self._bare_table(Mm(62), Mm(103), rows=2)
        left, right = table.rows[0].cells
        number, dateline = table.rows[1].cells
        self._line("{{ letterhead.authority }}", left, _CENTER, first=True)
        self._line("{{ letterhead.issuer }}", left, _CENTER, bold=True)
        self._rule(left, Mm(18))
        self._line(_("No.:") + "        {{ letterhead.number }}", number, _CENTER, first=True)
        self._line(_("SOCIALIST REPUBLIC OF VIET NAM"), right, _CENTER, bold=True, first=True, size=Pt(12.5))
        self._line(_("Independence - Freedom - Happiness"), right, _CENTER, bold=True, size=Pt(13.5))
        self._rule(right, Mm(22))
        self._line("{{ dateline }}", dateline, _CENTER, italic=True, first=True)
        self._line(_("REPORT"), None, _CENTER, bold=True, size=Pt(14), before=18)
        self._line("{{ title }}", None, _CENTER, bold=True, size=Pt(14))
        self._line("{{ subject }}", None, _CENTER, italic=True, before=2)
        self._rule(self.document, Mm(60))

    def _body(self) -> None:
        self._loop("{%p for note in notes %}", "{{ note }}")
        self._part("sections", "{{ section.number }}. {{ section.title }}", _TABLE)

    def _sign(self) -> None:
        _ = self._
        self._line("", None, _LEFT)
        table = self._bare_table(Mm(80), Mm(85))
        left, right = table.rows[0].cells
        self._line(_("Recipients:"), left, _LEFT, bold=True, italic=True, size=Pt(12), first=True)
        for line in ("{%p for one in letterhead.recipients %}", "- {{ one }};", "{%p endfor %}"):
            self._line(line, left, _LEFT, size=Pt(11))
        self._line("{{ letterhead.signer_title }}", right, _CENTER, bold=True, size=Pt(14), first=True)
        for _blank in range(4):
            self._line("", right, _CENTER)
        self._line("{{ letterhead.signer_name }}", right, _CENTER, bold=True, size=Pt(14))

    def _annexes(self) -> None:
        section = self.document.add_section(WD_SECTION.NEW_PAGE)
        section.orientation = WD_ORIENT.LANDSCAPE
        section.page_width, section.page_height = Mm(297), Mm(210)
        section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Mm(15)
        section.different_first_page_header_footer = False
        self._line(self._("ANNEX"), None, _CENTER, bold=True, size=Pt(14))
        self._line("({{ title }})", None, _CENTER, italic=True)
        self._part("annexes", "{{ section.number }}. {{ section.title }}", _ANNEX)

    def _part(self, name: str, heading: str, size: Any) -> None:
        """The sections of a list: their texts, tables and charts."""
        document = self.document
        self._line("{%p for section in " + name + " %}", None, _LEFT)
        document.add_paragraph(heading, style="Heading 1")
        self._loop("{%p for text in section.paragraphs %}", "{{ text }}")
        self._line("{%p for table in section.tables %}", None, _LEFT)
        self._line("{%p if table.title %}", None, _LEFT)
        document.add_paragraph("{{ table.title }}", style="Heading 2")
        self._line("{%p endif %}", None, _LEFT)
        self._line("{%p if table.rows %}", None, _LEFT)
        self._table(size)
        self._line("{%p else %}", None, _LEFT)
        self._line("{{ table.empty }}", None, _LEFT, italic=True)
        self._line("{%p endif %}", None, _LEFT)
        self._line("{%p for note in table.notes %}", None, _LEFT)
        self._line("{{ note }}", None, _LEFT, italic=True, size=Pt(10))
        for line in ("{%p endfor %}", "{%p endfor %}", "{%p if section.charts %}"):
            self._line(line, None, _LEFT)
        self._line("{% for chart in section.charts %}{{ chart }} {% endfor %}", None, _LEFT, before=6)
        for line in ("{%p endif %}", "{%p endfor %}"):
            self._line(line, None, _LEFT)

    def _table(self, size: Any) -> None:
        """Its columns and rows are repeated: {%tc %} and {%tr %} take away the cell and the row that they stand in."""
        table = self.document.add_table(rows=4, cols=3)
        table.style, table.alignment = "Table Grid", WD_TABLE_ALIGNMENT.CENTER
        head, begin, row, end = table.rows
        repeated = OxmlElement("w:tblHeader")
        head._tr.get_or_add_trPr().append(repeated)
        whole = OxmlElement("w:cantSplit")
        row._tr.get_or_add_trPr().append(whole)
        self._cells(head, "{%tc for column in table.columns %}", [("{{ column }}", _CENTER, True)])
        self._line("{%tr for row in table.rows %}", begin.cells[0], _LEFT, first=True)
        self._cells(
            row, "{%tc for cell in row %}",
            ["{%tc if cell.number %}", ("{% cellbg cell.fill %}{{ cell.text }}", _RIGHT, False), "{%tc else %}",
             ("{{ cell.text }}", _LEFT, False), "{%tc endif %}"],
        )  # fmt: skip
        self._line("{%tr endfor %}", end.cells[0], _LEFT, first=True)
        for paragraph in table._tbl.iter(qn("w:p")):
            Paragraph(paragraph, table).paragraph_format.space_before = Pt(1)
            for run in Paragraph(paragraph, table).runs:
                run.font.size = size

    def _cells(self, row: Any, begin: str, inner: list[Any]) -> None:
        parts = [begin, *inner, "{%tc endfor %}"]
        while len(row.cells) < len(parts):
            row._tr.append(docx.oxml.table.CT_Tc.new())
        for cell, part in zip(row.cells, parts, strict=True):
            text, alignment, bold = part if isinstance(part, tuple) else (part, _LEFT, False)
            self._line(text, cell, alignment, bold=bold, first=True)

    def _loop(self, begin: str, inner: str) -> None:
        self._line(begin, None, _LEFT)
        line = self._line(inner, None, _BOTH, before=6)
        line.paragraph_format.first_line_indent = Mm(10)
        self._line("{%p endfor %}", None, _LEFT)

    def _line(
        self, text: str, where: Any, alignment: Any, *, bold: bool = False, italic: bool = False, size: Any = None,
        before: int = 0, first: bool = False,
    ) -> Any:  # fmt: skip
        """`first`: the paragraph that a cell has from the start."""
        where = where or self.document
        line = where.paragraphs[0] if first else where.add_paragraph()
        line.alignment = alignment
        line.paragraph_format.space_before = Pt(before)
        run = line.add_run(text)
        run.bold, run.italic = bold or None, italic or None
        if size is not None:
            run.font.size = size
        return line

    def _rule(self, where: Any, inset: Any) -> None:
        """A short line under what stands above."""
        line = where.add_paragraph()
        line.paragraph_format.left_indent = line.paragraph_format.right_indent = inset
        line.paragraph_format.line_spacing = Pt(4)
        borders, top = OxmlElement("w:pBdr"), OxmlElement("w:bottom")
        for name, value in (("val", "single"), ("sz", "6"), ("space", "1"), ("color", "000000")):
            top.set(qn(f"w:{name}"), value)
        borders.append(top)
        line._p.get_or_add_pPr().append(borders)

    def _bare_table(self, *widths: Any, rows: int = 1) -> Any:
        table = self.document.add_table(rows=rows, cols=len(widths))
        table.alignment, table.autofit = WD_TABLE_ALIGNMENT.CENTER, False
        for column, width in zip(table.columns, widths, strict=True):
            column.width = width
            for cell in column.cells:
                cell.width = width
        return table


def _field(line: Any, code: str) -> None:
    for kind, said in (("begin", None), (None, code), ("end", None)):
        run = line.add_run()
        if kind is None:
            field = OxmlElement("w:instrText")
            field.text = said
        else:
            field = OxmlElement("w:fldChar")
            field.set(qn("w:fldCharType"), kind)
        run._r.append(field)
