"""The traffic plane: from a caller's request to a version's answer, and what was seen of it.

Where a line belongs:

    which way a call goes     service; what is answered here: own
    a request on its way      passage (chat, inference), passthrough (a provider's other paths),
                              passing (to control); ticket: what both of the first carry
    whom it goes to           pipeline, by the view
    whether it may            limits (wrong keys, vetoes), spending (keys with limits)
    when a version fails      truth (what it means), recourse (what is done), resilience (breakers)
    what callers write        formats/, one for each API, listed by dialects; they share body,
                              members, numbers, object_format, openai_errors, openai_words, tensors
    what providers are sent   splice, or merging with variables; exact keeps numbers as written;
                              heads: fields of both heads; form and upload: files
    between two dialects      chat (what both can say), speech (who translates)
    streams                   sse (bytes to events), watching (as they pass), reading (understood)
    what was seen             accumulator, tally, backlog; flush hands it over, to the scribe
    what others provide       exchange (plain data between formats and providers), ports, store
"""
