# Before anything is touched: one error with all that is wrong in the pillar.
diskless pillar:
  diskless.valid: []
