"""What tests share: fixtures' insides and fakes."""
