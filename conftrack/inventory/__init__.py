"""The inventory as operators keep it: files of org units, endpoints and aliases, and the callers that they name.

Files become rows (`tables`, `headings`), rows become the inventory that would stand (`planning`), and what differs is
shown before it is put in (`show`). Callers without an endpoint are likened to the endpoints by name (`names`). Nothing
here asks the database anything; that is `conftrack.storage.inventory`.
"""
