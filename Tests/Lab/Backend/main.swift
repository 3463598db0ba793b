print("lab backend")
