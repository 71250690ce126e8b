package relay

import "testing"

// What a relay promises it promises whatever the connection is made of: these tests run
// once more with nobody upgrading (harness_test.go knows them by this test's name).
func TestByLongPoll(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"acked mail":                        TestAckedMail,
		"refused sends":                     TestSendsAreRefusedWithACode,
		"rate":                              TestRateOfAckClients,
		"credit":                            TestCreditWindow,
		"credit in bytes":                   TestCreditWindowCountsBytes,
		"ack of one delivery":               TestAckNamesOneDelivery,
		"passed on proof":                   TestPassedOnProofIsRefusedT05,
		"the frame is covered":              TestProofCoversTheWholeFrame,
		"client proves itself":              TestClientProvesItself,
		"downgrade":                         TestDowngradeIsNoticed,
		"the highest mark":                  TestTheHighestMarkIsKept,
		"mark of another name":              TestMarkOfAnotherNameGivesWay,
		"no marks":                          TestNoMarksWithoutTheExtension,
		"deposits":                          TestClientDeposits,
		"foreign marks":                     TestForeignMarksCountAsNone,
		"strangers":                         TestStrangersMayOnlyKnock,
		"wrong lists":                       TestWrongListsChangeNothing,
		"list of the newest":                TestOnlyTheNewestConnectionSetsTheList,
		"list in force":                     TestClientKeepsTheListInForce,
		"list settled":                      TestAllowIsAlwaysSettled,
		"list changes":                      TestListChangesShareFrames,
		"expired":                           TestExpiredMessagesAreTold,
		"client hears of expired":           TestClientHearsOfExpiredMessages,
		"forged notices":                    TestForgedNoticesAreIgnored,
		"binary and text":                   TestNobodyCanTellHowAMessageCame,
		"binary refusals":                   TestBinarySendsAreRefusedInBinary,
		"scenarios":                         TestScenarios,
		"legacy frames once":                TestLegacyFrameIsNeverGivenTwice,
		"restarts":                          TestThousandMessagesThroughRestarts,
		"crash before the commit of a send": TestCrashBeforeTheCommitOfASend,
		"crash after the commit of a send":  TestCrashAfterTheCommitOfASend,
		"crash while handing out":           TestCrashWhileHandingOut,
		"crash before the delete":           TestCrashBeforeTheDelete,
		"crash while taking":                TestCrashWhileTakingForALegacyReceiver,
		"repeat to a legacy receiver":       TestARepeatIsGivenToALegacyReceiverOnce,
		"repeat after a crash while taking": TestARepeatAfterACrashWhileTaking,
		"client sends and receives":         TestClientSendsAndReceives,
		"client is told why":                TestClientToldWhy,
	} {
		t.Run(name, test)
	}
}
