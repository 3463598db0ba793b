print("upclose")
