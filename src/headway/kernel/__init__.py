"""Clock, errors, ids, canonical text: what everyone may use."""
