"""Tables as users write them: finding, opening and strictly reading their files, whatever form."""
