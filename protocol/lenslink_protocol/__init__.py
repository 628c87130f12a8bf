"""The LensLink wire: one definition (:mod:`.structs`), and the sans-IO machines that speak it."""
