//! The published R4 examples that break a rule of R4 itself, each with the rule.

/// Questionnaires generated from resource types: their display items have no `linkId`, which is
/// mandatory. Each file is called `{stem}-questionnaire.json`.
const WITHOUT_LINK_ID: &str = "\
    account activitydefinition actualgroup adverseevent allergyintolerance appointment \
    appointmentresponse auditevent basic binary biologicallyderivedproduct bmi bodyheight \
    bodystructure bodytemp bodyweight bp bundle capabilitystatement careplan careteam catalog \
    catalogentry cdshooksguidanceresponse cdshooksrequestgroup cdshooksserviceplandefinition \
    chargeitem chargeitemdefinition cholesterol claim claimresponse clinicaldocument \
    clinicalimpression codesystem communication communicationrequest compartmentdefinition \
    composition computableplandefinition conceptmap condition consent contract coverage \
    coverageeligibilityrequest coverageeligibilityresponse cqf-questionnaire cqllibrary \
    detectedissue device devicedefinition devicemetric devicemetricobservation devicerequest \
    deviceusestatement diagnosticreport diagnosticreport-genetics documentmanifest \
    documentreference effectevidencesynthesis elementdefinition-de encounter endpoint \
    enrollmentrequest enrollmentresponse episodeofcare eventdefinition evidence evidencevariable \
    examplescenario explanationofbenefit familymemberhistory familymemberhistory-genetic flag \
    goal graphdefinition group groupdefinition guidanceresponse hdlcholesterol headcircum \
    healthcareservice heartrate hlaresult imagingstudy immunization immunizationrecommendation \
    implementationguide insuranceplan invoice ldlcholesterol library linkage lipidprofile list \
    location measure measurereport media medication medicationadministration medicationdispense \
    medicationknowledge medicationrequest medicationstatement medicinalproduct \
    medicinalproductauthorization medicinalproductcontraindication medicinalproductindication \
    medicinalproductingredient medicinalproductinteraction medicinalproductmanufactured \
    medicinalproductpackaged medicinalproductpharmaceutical medicinalproductundesirableeffect \
    messagedefinition messageheader molecularsequence namingsystem nutritionorder observation \
    observation-genetics observationdefinition operationdefinition operationoutcome organization \
    organizationaffiliation oxygensat parameters patient paymentnotice paymentreconciliation \
    person picoelement plandefinition practitioner practitionerrole procedure provenance \
    provenance-relevant-history questionnaire questionnaireresponse relatedperson requestgroup \
    researchdefinition researchelementdefinition researchstudy researchsubject resprate \
    riskassessment riskevidencesynthesis schedule searchparameter servicerequest \
    servicerequest-genetics shareableactivitydefinition shareablecodesystem shareablelibrary \
    shareablemeasure shareableplandefinition shareablevalueset slot specimen specimendefinition \
    structuredefinition structuremap subscription substance substancenucleicacid \
    substancepolymer substanceprotein substancereferenceinformation substancesourcematerial \
    substancespecification supplydelivery supplyrequest synthesis task terminologycapabilities \
    testreport testscript triglyceride valueset verificationresult visionprescription vitalsigns \
    vitalspanel";

/// Search parameters without the mandatory `base`, `{stem}.json`.
const WITHOUT_BASE: [&str; 10] = [
    "codesystem-extensions-CodeSystem-author",
    "codesystem-extensions-CodeSystem-effective",
    "codesystem-extensions-CodeSystem-end",
    "codesystem-extensions-CodeSystem-keyword",
    "codesystem-extensions-CodeSystem-workflow",
    "valueset-extensions-ValueSet-author",
    "valueset-extensions-ValueSet-effective",
    "valueset-extensions-ValueSet-end",
    "valueset-extensions-ValueSet-keyword",
    "valueset-extensions-ValueSet-workflow",
];

/// The others: file, and part of the issue that refuses it.
const OTHERS: [(&str, &str); 10] = [
    ("activitydefinition-servicerequest-example.json", "text or an image (txt-2)"),
    ("activitydefinition-supplyrequest-example.json", "text or an image (txt-2)"),
    ("devicemetric-example.json", "not to DeviceDefinition"),
    ("deviceusestatement-example.json", "not to Procedure"),
    ("eventdefinition-example.json", "text or an image (txt-2)"),
    ("medicationrequest0301.json", "not to Practitioner"),
    ("observation-example-clinical-gender.json", "not to Encounter"),
    ("package-min-ver.json", "a resource needs a resourceType"),
    ("questionnaire-zika-virus-exposure-assessment.json", "text or an image (txt-2)"),
    (
        "questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json",
        "an id is 1 to 64 letters, digits, '-' and '.'",
    ),
];

/// Name of each refused file, with a part of the issue that says why.
pub(crate) fn refused() -> impl Iterator<Item = (String, &'static str)> {
    let generated = WITHOUT_LINK_ID.split_ascii_whitespace();
    let generated =
        generated.map(|stem| (format!("{stem}-questionnaire.json"), "linkId: required"));
    let without_base = WITHOUT_BASE.iter().map(|stem| (format!("{stem}.json"), "base: required"));
    let others = OTHERS.iter().map(|(name, rule)| ((*name).to_owned(), *rule));
    generated.chain(without_base).chain(others)
}
