"""Head counts as people give them: a link for each expected site, the number that is typed over it, the sheet that the
links are printed on, and lists that are imported.

A link (`links`) is good for one endpoint at one meeting; `counting` takes in what is typed, `sheet` lays the links out,
`lists` reads files. The pages that sites see are those of `conftrack.web.counts`.
"""
