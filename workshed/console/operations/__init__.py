"""Operations that the command line and the web console share."""
